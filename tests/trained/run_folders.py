"""Folders of runs, as experiments.train leaves them, written without training."""

from pathlib import Path
from typing import Any

import jax
import optax

from vaejax import build, make_objective
from vaejax.bounds import BOUNDS
from vaejax.estimators import ESTIMATORS
from vaejax.trained import Recipe, TrainedModel, load, write_recipe
from vaejax.training import checkpoints, init_state, several_seeds

KEY = jax.random.key(0)
# The settings of small models, but those of (4, 4, 1) images.
SMALL: dict[str, tuple[str, ...]] = {
    "autoencoder": ("hidden=6", "latent_dim=3"),
    "denoising_autoencoder": ("latent_dim=3",),
    "sparse_autoencoder": ("latent_dim=3",),
    "stacked_denoising_autoencoder": ("hidden=6", "latent_dim=3"),
    "masked_autoencoder": (
        *("patch_size=2", "width=4", "depth=1", "heads=1"),
        *("decoder_width=4", "decoder_depth=1"),
    ),
    "hierarchical_mlp": ("hidden=6,5", "latent_dims=3,2", "num_hidden=1"),
    "ladder_mlp": ("hidden=6,5", "latent_dims=3,2", "num_hidden=1"),
    "bernoulli_toy": (),
    "categorical_mlp": ("hidden=6", "latent_dim=3", "num_categories=2"),
    "conditional_vae": ("hidden=6", "latent_dim=3", "num_classes=2"),
    "family_mlp": ("hidden=6", "latent_dim=3"),
    "two_layer_gaussian": ("latent_dims=3,2",),
    "two_layer_sigmoid_belief_network": ("hidden=6", "latent_dims=3,2"),
    "gaussian_mlp": ("hidden=6", "latent_dim=3"),
    "gaussian_conv": ("channels=2,3", "latent_dim=3"),
    "gaussian_toy": (),
    "linear_gaussian": ("latent_dim=3",),
    "prod_lda": ("hidden=6", "num_topics=3"),
    "m2": ("hidden=6", "latent_dim=3", "num_classes=2"),
    "semi_amortized_mlp": ("hidden=6", "latent_dim=3"),
    "sigmoid_belief_network": ("hidden=6", "latent_dim=3"),
    "vade": ("hidden=6", "latent_dim=3", "num_components=2"),
    "vq_vae": ("channels=2,3", "blocks=0", "latent_dim=3", "num_codes=4"),
}


def untrained(folder: Path, name: str, **more: Any) -> TrainedModel:
    """The run of a small model of this name at its initial parameters, loaded."""
    given = {
        "settings": SMALL[name],
        "data_shape": (5,) if name == "prod_lda" else (4, 4, 1),
        "protocol": "counts" if name == "prod_lda" else "dynamic",
    }
    recipe = Recipe(model=name, **(given | more))
    model = recipe.build()
    objective = make_objective(
        model,
        build(BOUNDS, "elbo" if model.posterior.has_density else "reconstruction"),
        build(ESTIMATORS, "pathwise" if model.posterior.reparam else "score_function"),
        num_samples=1,
    )
    if recipe.num_seeds > 1:
        objective = several_seeds(objective, recipe.num_seeds)
    write_recipe(folder, recipe)
    (folder / "config.json").write_text("{}")
    state = init_state(objective, optax.sgd(0.1), KEY)
    checkpoints.save(folder / "checkpoints", state)
    return load(folder)
