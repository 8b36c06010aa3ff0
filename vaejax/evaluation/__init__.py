"""What a trained model is worth: likelihood, latent diagnostics."""

from vaejax.evaluation.active_units import active_units, posterior_means
from vaejax.evaluation.log_likelihood import LogLikelihood, log_likelihood

__all__ = ["LogLikelihood", "active_units", "log_likelihood", "posterior_means"]
