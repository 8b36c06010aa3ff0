"""Denoising autoencoders on noisy images, beside a plain autoencoder."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.pictures.score_field import score_field
from experiments.gallery.systems.autoencoder import decoded
from experiments.training.config import Config
from vaejax.core import fold_examples
from vaejax.evaluation import psnr
from vaejax.models.corruption import corruption
from vaejax.plotting import Table, image_rows

NOISE = {"masking": 0.5, "gaussian": 0.5}
MEASURED = 2000  # test images


def _trainings(epochs: int, units: int, hidden: str) -> dict[str, Config]:
    code = (f"latent_dim={units}", f"hidden={hidden}", "units=relu")
    levels = {noise: (noise, level) for noise, level in NOISE.items()}
    levels |= {"plain": ("gaussian", 0.0)}
    return {
        label: Config(
            dataset="mnist",
            protocol="none",
            model="denoising_autoencoder",
            model_settings=(*code, f"noise={noise}", f"level={level}"),
            bound="reconstruction",
            estimator="pathwise",
            epochs=epochs,
        )
        for label, (noise, level) in levels.items()
    }


def _noisy(kind: str, images: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    """Every image with independent noise, the same at every call."""
    keys = fold_examples(jax.random.key(0), jnp.arange(len(images)))
    return jax.vmap(corruption(kind, NOISE[kind]))(keys, images)


def _show(trained: Mapping[str, Trained]) -> Shown:
    clean = trained["plain"].data.test.x[:MEASURED]
    field = score_field()
    numbers: dict[str, float] = {
        "cosine to the score": field.cosine,
        "relative squared error of the score": field.relative_error,
    }
    rows: list[tuple[str, float, float, float]] = []
    figures = [field.figure]
    for kind, level in NOISE.items():
        noisy = _noisy(kind, clean)
        made = {
            "noisy": noisy,
            "plain autoencoder": decoded(trained["plain"], noisy),
            "denoising autoencoder": decoded(trained[kind], noisy),
        }
        clipped = {name: np.asarray(x).clip(0, 1) for name, x in made.items()}
        found = {
            name: float(psnr(x, np.asarray(clean)).mean())
            for name, x in clipped.items()
        }
        numbers |= {f"PSNR, {kind}, {name}": value for name, value in found.items()}
        before, plain, own = found.values()
        rows.append((f"{kind}, {level:g}", before, plain, own))
        shown = {"data": np.asarray(clean)} | clipped
        figures.append(
            image_rows(
                {name: x[:10] for name, x in shown.items()},
                f"MNIST test images with {kind} noise at {level:g}",
            )
        )
    sentences = [
        f"{name}: from {noisy:.1f} dB to {own:.1f} dB (the plain autoencoder "
        f"{plain:.1f} dB)"
        for name, noisy, plain, own in rows
    ]
    better = all(own > max(noisy, plain) for _, noisy, plain, own in rows)
    return Shown(
        numbers=numbers,
        finding=(
            f"on a mixture in the plane the cosine of the residual to the score is "
            f"{field.cosine:.3f}; mean peak signal-to-noise ratio of test images, "
            + "; ".join(sentences)
            + f": it {'denoises' if better else 'does not denoise better'}."
        ),
        figures=figures,
        tables=[
            Table(
                ["noise", "noisy", "plain autoencoder", "denoising autoencoder"],
                rows,
                f"PSNR in dB, mean over {MEASURED} test images, pixels clipped to "
                "[0, 1].",
            )
        ],
    )


denoising_autoencoder = Entry(
    title="Denoising autoencoders",
    text=(
        "The encoder sees the image through noise, the loss is of the image without "
        "(Vincent et al. 2008). With Gaussian noise the residual is the score of the "
        "smoothed density (Vincent 2011; Alain and Bengio 2014, arXiv:1211.4246), "
        "shown first on a mixture in the plane."
    ),
    presets={
        "short": _trainings(4, 128, "256"),
        "paper": _trainings(100, 2000, "2000"),
    },
    show=_show,
)
