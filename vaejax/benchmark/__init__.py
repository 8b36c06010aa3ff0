"""The benchmark of gradient estimators: bias, variance, signal-to-noise and cost."""

from vaejax.benchmark.advice import Advice as Advice
from vaejax.benchmark.advice import AdviceRow as AdviceRow
from vaejax.benchmark.combining import combine as combine
from vaejax.benchmark.compare import compare_estimators as compare_estimators
from vaejax.benchmark.cost import CostReport as CostReport
from vaejax.benchmark.cost import cost_report as cost_report
from vaejax.benchmark.cost import cost_reports as cost_reports
from vaejax.benchmark.direction import along_and_across as along_and_across
from vaejax.benchmark.direction import cosine_of_means as cosine_of_means
from vaejax.benchmark.evaluations import counted as counted
from vaejax.benchmark.evaluations import decoder_evaluations as decoder_evaluations
from vaejax.benchmark.moments import Moments as Moments
from vaejax.benchmark.moments import fold_count as fold_count
from vaejax.benchmark.moments import gradient_moments as gradient_moments
from vaejax.benchmark.recommend import advise as advise
from vaejax.benchmark.report import GroupReport as GroupReport
from vaejax.benchmark.report import grad_report as grad_report
from vaejax.benchmark.report import summarize as summarize
from vaejax.benchmark.rows import Cell as Cell
from vaejax.benchmark.rows import Row as Row
from vaejax.benchmark.split import VarianceSplit as VarianceSplit
from vaejax.benchmark.split import variance_split as variance_split
from vaejax.benchmark.squared_norm import squared_norm_of_mean as squared_norm_of_mean
from vaejax.benchmark.table import EstimatorTable as EstimatorTable
from vaejax.benchmark.unbiased import BiasCheck as BiasCheck
from vaejax.benchmark.unbiased import check_unbiased as check_unbiased
