"""Figures and the HTML report: arrays and rows in, a figure or one file out.

Imported by experiments and notebooks, never by `vaejax` itself, so that
`import vaejax` does without matplotlib.
"""

from vaejax.plotting.bias import bias_forest
from vaejax.plotting.cost import cost_curves
from vaejax.plotting.coverage import interval_coverage
from vaejax.plotting.densities import densities
from vaejax.plotting.estimator_map import estimator_map
from vaejax.plotting.frontier import cost_frontier
from vaejax.plotting.gradients import gradient_statistic
from vaejax.plotting.heat_map import heat_map
from vaejax.plotting.image_rows import image_rows
from vaejax.plotting.images import image_grid
from vaejax.plotting.latents import latent_space
from vaejax.plotting.laws import scaling_laws
from vaejax.plotting.layers import bars_by_layer
from vaejax.plotting.likelihoods import log_likelihood_bars
from vaejax.plotting.pairs import reconstructions
from vaejax.plotting.ranks import bars_by_rank
from vaejax.plotting.rate_distortion import rate_distortion
from vaejax.plotting.replay import replay_curves
from vaejax.plotting.report import Section, write_report
from vaejax.plotting.scores import scores_by_distortion
from vaejax.plotting.style import Picture, PlottingError, png, save
from vaejax.plotting.tables import Table
from vaejax.plotting.tightness import bound_tightness, weight_health
from vaejax.plotting.topics import topic_coherences
from vaejax.plotting.training import bound_curves, training_curves
from vaejax.plotting.variance_split import variance_split
from vaejax.plotting.vector_fields import vector_fields

__all__ = [
    "Picture",
    "PlottingError",
    "Section",
    "Table",
    "bars_by_layer",
    "bars_by_rank",
    "bias_forest",
    "bound_curves",
    "bound_tightness",
    "cost_curves",
    "cost_frontier",
    "densities",
    "estimator_map",
    "gradient_statistic",
    "heat_map",
    "image_grid",
    "image_rows",
    "interval_coverage",
    "latent_space",
    "log_likelihood_bars",
    "png",
    "rate_distortion",
    "reconstructions",
    "replay_curves",
    "save",
    "scaling_laws",
    "scores_by_distortion",
    "topic_coherences",
    "training_curves",
    "variance_split",
    "vector_fields",
    "weight_health",
    "write_report",
]
