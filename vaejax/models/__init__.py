"""Models: one file each; the exact oracles are models like any other."""

from collections.abc import Callable

from vaejax.core import Model, Registry
from vaejax.core.build import check_calls
from vaejax.models.assembly import from_networks
from vaejax.models.autoencoder import autoencoder
from vaejax.models.bernoulli_toy import bernoulli_toy
from vaejax.models.categorical_mlp import categorical_mlp
from vaejax.models.conditional_vae import conditional_vae
from vaejax.models.denoising_autoencoder import denoising_autoencoder
from vaejax.models.family_mlp import family_mlp
from vaejax.models.gaussian_conv import gaussian_conv
from vaejax.models.gaussian_mlp import gaussian_mlp
from vaejax.models.gaussian_toy import gaussian_toy
from vaejax.models.ladder import hierarchical_mlp, ladder_mlp
from vaejax.models.linear_gaussian import linear_gaussian
from vaejax.models.m2 import m2
from vaejax.models.masked_autoencoder import masked_autoencoder
from vaejax.models.missingness import with_missingness
from vaejax.models.prod_lda import prod_lda
from vaejax.models.semi_amortized import semi_amortized_mlp, with_refinement
from vaejax.models.sigmoid_belief_network import sigmoid_belief_network
from vaejax.models.sparse_autoencoder import sparse_autoencoder
from vaejax.models.stacked_denoising_autoencoder import stacked_denoising_autoencoder
from vaejax.models.two_layer_gaussian import two_layer_gaussian
from vaejax.models.two_layer_sigmoid_belief_network import (
    two_layer_sigmoid_belief_network,
)
from vaejax.models.vade import vade
from vaejax.models.vq_vae import vq_vae

MODELS: Registry[Callable[..., Model]] = Registry("model") | {
    "gaussian_mlp": gaussian_mlp,
    "gaussian_conv": gaussian_conv,
    "family_mlp": family_mlp,
    "hierarchical_mlp": hierarchical_mlp,
    "ladder_mlp": ladder_mlp,
    "semi_amortized_mlp": semi_amortized_mlp,
    "autoencoder": autoencoder,
    "sparse_autoencoder": sparse_autoencoder,
    "denoising_autoencoder": denoising_autoencoder,
    "stacked_denoising_autoencoder": stacked_denoising_autoencoder,
    "masked_autoencoder": masked_autoencoder,
    "categorical_mlp": categorical_mlp,
    "conditional_vae": conditional_vae,
    "sigmoid_belief_network": sigmoid_belief_network,
    "two_layer_sigmoid_belief_network": two_layer_sigmoid_belief_network,
    "bernoulli_toy": bernoulli_toy,
    "gaussian_toy": gaussian_toy,
    "linear_gaussian": linear_gaussian,
    "m2": m2,
    "prod_lda": prod_lda,
    "two_layer_gaussian": two_layer_gaussian,
    "vade": vade,
    "vq_vae": vq_vae,
}
check_calls(globals(), MODELS)

__all__ = [
    "MODELS",
    "autoencoder",
    "bernoulli_toy",
    "categorical_mlp",
    "conditional_vae",
    "denoising_autoencoder",
    "family_mlp",
    "from_networks",
    "gaussian_conv",
    "gaussian_mlp",
    "gaussian_toy",
    "hierarchical_mlp",
    "ladder_mlp",
    "linear_gaussian",
    "m2",
    "masked_autoencoder",
    "prod_lda",
    "semi_amortized_mlp",
    "sigmoid_belief_network",
    "sparse_autoencoder",
    "stacked_denoising_autoencoder",
    "two_layer_gaussian",
    "two_layer_sigmoid_belief_network",
    "vade",
    "vq_vae",
    "with_missingness",
    "with_refinement",
]
