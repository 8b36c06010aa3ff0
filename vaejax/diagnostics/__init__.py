"""How good and how dear a gradient is: bias, variance, signal-to-noise, cost."""

from vaejax.diagnostics.combining import combine as combine
from vaejax.diagnostics.cost import CostReport as CostReport
from vaejax.diagnostics.cost import cost_report as cost_report
from vaejax.diagnostics.cost import cost_reports as cost_reports
from vaejax.diagnostics.direction import along_and_across as along_and_across
from vaejax.diagnostics.direction import cosine_of_means as cosine_of_means
from vaejax.diagnostics.evaluations import counted as counted
from vaejax.diagnostics.evaluations import decoder_evaluations as decoder_evaluations
from vaejax.diagnostics.moments import Moments as Moments
from vaejax.diagnostics.moments import fold_count as fold_count
from vaejax.diagnostics.moments import gradient_moments as gradient_moments
from vaejax.diagnostics.report import GroupReport as GroupReport
from vaejax.diagnostics.report import grad_report as grad_report
from vaejax.diagnostics.report import summarize as summarize
from vaejax.diagnostics.split import VarianceSplit as VarianceSplit
from vaejax.diagnostics.split import variance_split as variance_split
from vaejax.diagnostics.squared_norm import squared_norm_of_mean as squared_norm_of_mean
