"""The masked autoencoder: its guesses, its cost and its accuracy with few labels."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained, Trainings
from experiments.gallery.judges.few_labels import few_labels
from experiments.training.config import Config
from vaejax.core import Example, Key, Model, Params, build
from vaejax.models import MODELS
from vaejax.models.masked_autoencoder import represent
from vaejax.plotting import Picture, Table, image_rows

RATIOS = (0.0, 0.25, 0.5, 0.75)
SHORT = ("patch_size=7", "depth=3", "decoder_depth=1")
PAPER = ("patch_size=4", "width=192", "depth=12", "heads=4", "decoder_depth=4")


def _trainings(epochs: int, batch_size: int, settings: tuple[str, ...]) -> Trainings:
    masked = Config(
        dataset="mnist",
        protocol="none",
        model="masked_autoencoder",
        model_settings=settings,
        bound="reconstruction",
        estimator="pathwise",
        batch_size=batch_size,
        epochs=epochs,
    )
    return {"masked": masked}


def at_ratio(one: Trained, mask_ratio: float) -> Model:
    """The model of the same parameters that hides another share of the patches."""
    mean = np.asarray(one.data.train.x).mean(0) / 255
    settings = [*one.config.model_settings, f"mask_ratio={mask_ratio}"]
    return build(
        MODELS,
        one.config.model,
        settings,
        data_shape=one.model.data_shape,
        data_mean=mean,
    )


def encoder_flops(model: Model, params: Params) -> float:
    """Floating point operations to encode one image, as XLA counts them."""
    assert model.data_shape is not None

    def tokens(params: Params, x: jax.Array, key: Key) -> jax.Array:
        return model.posterior.sample(key, model.encode(params, Example(x))).tokens

    x = jnp.zeros(model.data_shape)
    compiled = jax.jit(tokens).lower(params, x, jax.random.key(0)).compile()
    costs: Any = compiled.cost_analysis()
    return float(costs["flops"])


def _show(trained: Mapping[str, Trained]) -> Shown:
    one = trained["masked"]
    flops = {r: encoder_flops(at_ratio(one, r), one.params) for r in RATIOS}
    whole = at_ratio(one, 0.0)
    scratch = whole.init(jax.random.key(1)).encoder
    starts = {"masked autoencoder": one.params.encoder, "from scratch": scratch}
    found = few_labels(one, partial(represent, whole), starts)
    return Shown(
        numbers={f"encoder MFLOP at {r:g}": f / 1e6 for r, f in flops.items()}
        | found.numbers(),
        finding=(
            f"the encoder takes {flops[0.75] / flops[0.0]:.2f} of the operations where "
            "75% of the patches are dropped; " + found.sentence(*starts) + "."
        ),
        figures=[_guesses(one)],
        tables=[
            Table(
                ["mask ratio", "encoder, MFLOP per image"],
                [[r, f / 1e6] for r, f in flops.items()],
            ),
            found.table(),
        ],
    )


def _guesses(one: Trained, count: int = 10) -> Picture:
    """Images, their visible patches, and the model's guesses."""
    model, params = one.model, one.params

    def both(x: jax.Array, key: Key) -> tuple[jax.Array, jax.Array]:
        seen = model.posterior.sample(key, model.encode(params, Example(x)))
        guess = model.decode(params, seen, None)
        return jnp.where(guess.hidden, 0.5, x), guess.mean

    x = one.data.test.x[:count]
    left, guess = jax.vmap(both)(x, jax.random.split(jax.random.key(3), count))
    return image_rows(
        {"seen": left, "guess": guess, "data": x},
        "MNIST test images of which 75% of the patches are hidden",
    )


masked_autoencoder = Entry(
    title="Masked autoencoder",
    text=(
        "A vision transformer sees a quarter of the patches, and a small decoder "
        "guesses the others (He et al. 2022, arXiv:2111.06377); then the encoder "
        "learns to classify from few labels."
    ),
    presets={"short": _trainings(6, 128, SHORT), "paper": _trainings(800, 256, PAPER)},
    show=_show,
)
