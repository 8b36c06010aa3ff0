"""Measures of a trained model: likelihood, inference, latents, samples."""

from vaejax.evaluation.active_units import active_units, posterior_means
from vaejax.evaluation.amortization import AmortizationGap, amortization_gap
from vaejax.evaluation.anomaly import (
    AnomalyScores,
    anomaly_scores,
    compressed_bits,
    expected_log_px_z,
)
from vaejax.evaluation.auroc import auroc
from vaejax.evaluation.bits_per_dim import bits_per_dim
from vaejax.evaluation.clustering import (
    ClusteringScores,
    clustering_accuracy,
    clustering_scores,
)
from vaejax.evaluation.code_use import CodeUse, code_use
from vaejax.evaluation.collapse import CollapseReport, collapse_report
from vaejax.evaluation.denoising import (
    Denoised,
    Noise,
    bit_flips,
    denoise,
    gaussian_noise,
)
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
from vaejax.evaluation.imputation import Imputed, impute
from vaejax.evaluation.inpainting import (
    Inpainted,
    metropolis_within_gibbs,
    pseudo_gibbs,
)
from vaejax.evaluation.layer_kl import layer_kl
from vaejax.evaluation.linear_probe import linear_probe
from vaejax.evaluation.log_likelihood import LogLikelihood, log_likelihood
from vaejax.evaluation.log_normalizer import LogNormalizer, log_normalizer
from vaejax.evaluation.perplexity import perplexity
from vaejax.evaluation.reconstruction import Reconstruction, reconstruction
from vaejax.evaluation.shared_factor import beta_vae_score, factor_vae_score
from vaejax.evaluation.topic_coherence import npmi
from vaejax.evaluation.total_correlation import (
    TotalCorrelation,
    total_correlation_bound,
)
from vaejax.evaluation.two_sample import TwoSampleTest, mmd_test

__all__ = [
    "DCI",
    "AmortizationGap",
    "AnomalyScores",
    "ClusteringScores",
    "CodeUse",
    "CollapseReport",
    "Denoised",
    "ElboSurgery",
    "Estimate",
    "Imputed",
    "Inpainted",
    "LogLikelihood",
    "LogNormalizer",
    "Noise",
    "Reconstruction",
    "TotalCorrelation",
    "TwoSampleTest",
    "active_units",
    "amortization_gap",
    "anomaly_scores",
    "auroc",
    "beta_vae_score",
    "bit_flips",
    "bits_per_dim",
    "clustering_accuracy",
    "clustering_scores",
    "code_use",
    "collapse_report",
    "compressed_bits",
    "dci",
    "denoise",
    "elbo_surgery",
    "expected_log_px_z",
    "factor_vae_score",
    "fine_tuned_accuracy",
    "gaussian_noise",
    "impute",
    "layer_kl",
    "linear_probe",
    "log_likelihood",
    "log_normalizer",
    "metropolis_within_gibbs",
    "mmd_test",
    "modularity",
    "mutual_information_gap",
    "npmi",
    "perplexity",
    "posterior_means",
    "pseudo_gibbs",
    "psnr",
    "reconstruction",
    "separated_attribute_predictability",
    "ssim",
    "total_correlation_bound",
]
