"""What a trained model is worth: likelihood, inference, latent diagnostics."""

from vaejax.evaluation.active_units import active_units, posterior_means
from vaejax.evaluation.amortization import AmortizationGap, amortization_gap
from vaejax.evaluation.log_likelihood import LogLikelihood, log_likelihood

__all__ = [
    "AmortizationGap",
    "LogLikelihood",
    "active_units",
    "amortization_gap",
    "log_likelihood",
    "posterior_means",
]
