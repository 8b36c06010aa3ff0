"""What a trained model is worth: likelihood, inference, latent diagnostics."""

from vaejax.evaluation.active_units import active_units, posterior_means
from vaejax.evaluation.amortization import AmortizationGap, amortization_gap
from vaejax.evaluation.bits_per_dim import bits_per_dim
from vaejax.evaluation.log_likelihood import LogLikelihood, log_likelihood
from vaejax.evaluation.log_normalizer import LogNormalizer, log_normalizer
from vaejax.evaluation.perplexity import perplexity
from vaejax.evaluation.reconstruction import Reconstruction, reconstruction

__all__ = [
    "AmortizationGap",
    "LogLikelihood",
    "LogNormalizer",
    "Reconstruction",
    "active_units",
    "amortization_gap",
    "bits_per_dim",
    "log_likelihood",
    "log_normalizer",
    "perplexity",
    "posterior_means",
    "reconstruction",
]
