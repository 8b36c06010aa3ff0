"""The stacked denoising autoencoder: the gain from pretraining layer by layer."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.judges.few_labels import few_labels
from experiments.gallery.systems.autoencoder import decoded
from experiments.training.config import Config
from vaejax.core import Example, PyTree, fold_examples
from vaejax.models.corruption import corruption
from vaejax.plotting import image_rows

LEVEL = 0.25


def _trainings(epochs: int, steps: int, code: int, hidden: str) -> dict[str, Config]:
    return {
        "stacked": Config(
            dataset="mnist",
            protocol="none",
            model="stacked_denoising_autoencoder",
            model_settings=(
                *(f"latent_dim={code}", f"hidden={hidden}", f"level={LEVEL}"),
                f"pretraining_steps={steps}",
            ),
            bound="reconstruction",
            estimator="pathwise",
            epochs=epochs,
        )
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    one = trained["stacked"]
    model, params = one.model, one.params

    def represent(encoder: PyTree, x: Array) -> Float[Array, " Z"]:
        here = params._replace(encoder=encoder)
        return model.posterior.mean(model.encode(here, Example(x)))

    starts = {
        "stacked": params.encoder,
        "from scratch": model.init(jax.random.key(1)).encoder,
    }
    found = few_labels(one, represent, starts)
    clean = one.data.test.x[:10]
    keys = fold_examples(jax.random.key(0), jnp.arange(len(clean)))
    noisy = jax.vmap(corruption("masking", LEVEL))(keys, clean)
    return Shown(
        numbers=found.numbers(),
        finding=found.sentence(*starts) + ".",
        figures=[
            image_rows(
                {"data": clean, "noisy": noisy, "denoised": decoded(one, noisy)},
                f"MNIST test images of which {LEVEL:.0%} of the pixels are masked",
            )
        ],
        tables=[found.table()],
    )


stacked_denoising_autoencoder = Entry(
    title="Stacked denoising autoencoder",
    text=(
        "Every layer first learns to denoise the codes of the one below (Vincent et "
        "al. 2010), then all are trained together, and last with a classifier on top, "
        "for few labels."
    ),
    presets={
        "short": _trainings(2, 1000, 128, "256"),
        "paper": _trainings(50, 30_000, 1000, "1000,1000"),
    },
    show=_show,
)
