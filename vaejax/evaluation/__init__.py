"""What a trained model is worth: likelihood, inference, latents, samples."""

from vaejax.evaluation.active_units import active_units, posterior_means
from vaejax.evaluation.amortization import AmortizationGap, amortization_gap
from vaejax.evaluation.auroc import auroc
from vaejax.evaluation.bits_per_dim import bits_per_dim
from vaejax.evaluation.clustering import (
    ClusteringScores,
    clustering_accuracy,
    clustering_scores,
)
from vaejax.evaluation.code_use import CodeUse, code_use
from vaejax.evaluation.collapse import CollapseReport, collapse_report
from vaejax.evaluation.disentanglement import (
    DCI,
    dci,
    modularity,
    mutual_information_gap,
    separated_attribute_predictability,
)
from vaejax.evaluation.elbo_surgery import ElboSurgery, Estimate, elbo_surgery
from vaejax.evaluation.fine_tuning import fine_tuned_accuracy
from vaejax.evaluation.image_quality import psnr, ssim
from vaejax.evaluation.linear_probe import linear_probe
from vaejax.evaluation.log_likelihood import LogLikelihood, log_likelihood
from vaejax.evaluation.log_normalizer import LogNormalizer, log_normalizer
from vaejax.evaluation.perplexity import perplexity
from vaejax.evaluation.reconstruction import Reconstruction, reconstruction
from vaejax.evaluation.shared_factor import beta_vae_score, factor_vae_score
from vaejax.evaluation.topic_coherence import npmi
from vaejax.evaluation.two_sample import TwoSampleTest, mmd_test

__all__ = [
    "DCI",
    "AmortizationGap",
    "ClusteringScores",
    "CodeUse",
    "CollapseReport",
    "ElboSurgery",
    "Estimate",
    "LogLikelihood",
    "LogNormalizer",
    "Reconstruction",
    "TwoSampleTest",
    "active_units",
    "amortization_gap",
    "auroc",
    "beta_vae_score",
    "bits_per_dim",
    "clustering_accuracy",
    "clustering_scores",
    "code_use",
    "collapse_report",
    "dci",
    "elbo_surgery",
    "factor_vae_score",
    "fine_tuned_accuracy",
    "linear_probe",
    "log_likelihood",
    "log_normalizer",
    "mmd_test",
    "modularity",
    "mutual_information_gap",
    "npmi",
    "perplexity",
    "posterior_means",
    "psnr",
    "reconstruction",
    "separated_attribute_predictability",
    "ssim",
]
