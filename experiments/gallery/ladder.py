"""The ladder against the plain hierarchy: which layers stay in use."""

from collections.abc import Mapping

import jax
import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained, last_test
from experiments.train_config import Config
from vaejax.evaluation import posterior_means
from vaejax.evaluation.active_units import THRESHOLD
from vaejax.plotting import Table, bars_by_layer

MODELS = {"ladder": "ladder_mlp", "hierarchy": "hierarchical_mlp"}


def _trainings(
    latent_dims: str,
    hidden: str,
    activation: str,
    epochs: int,
    warm_up: int,
    batch_size: int,
) -> dict[str, Config]:
    return {
        label: Config(
            dataset="mnist",
            model=model,
            model_settings=(
                f"latent_dims={latent_dims}",
                f"hidden={hidden}",
                f"activation={activation}",
            ),
            estimator="pathwise",
            kl_weight=("linear", f"epochs={warm_up}"),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=2e-3,
            eval_num_samples=100,
            eval_examples=1000,
        )
        for label, model in MODELS.items()
    }


def _active(trained: Trained) -> list[int]:
    """The active units of every layer, from the lowest up."""
    means = posterior_means(trained.model, trained.params, trained.data.test)
    sizes = [leaf.size for leaf in jax.tree.leaves(trained.model.latent_shape)]
    layers = np.split(means.var(0), np.cumsum(sizes)[:-1])
    return [int((variance > THRESHOLD).sum()) for variance in layers]


def _show(trained: Mapping[str, Trained]) -> Shown:
    active = {label: _active(one) for label, one in trained.items()}
    elbos = {label: last_test(one)["elbo"] for label, one in trained.items()}
    upper = {label: sum(layers[1:]) for label, layers in active.items()}
    ladder, plain = MODELS
    words = "more" if upper[ladder] > upper[plain] else "no more"
    better = "better" if elbos[ladder] > elbos[plain] else "no better"
    layers = range(1, len(active[ladder]) + 1)
    return Shown(
        numbers={f"elbo {label}": value for label, value in elbos.items()}
        | {f"upper active units {label}": float(n) for label, n in upper.items()},
        finding=(
            f"with {len(layers)} layers the ladder keeps {words} units active above "
            f"the first, {upper[ladder]} against {upper[plain]}, at a {better} test "
            f"ELBO, {elbos[ladder]:.2f} against {elbos[plain]:.2f} nats."
        ),
        figures=[bars_by_layer(active, "active units")],
        tables=[
            Table(
                ("inference", "test ELBO, nats", *(f"layer {i}" for i in layers)),
                [(label, elbos[label], *active[label]) for label in trained],
                "Active units of every layer; layer 1 is next to the data.",
            )
        ],
    )


ladder = Entry(
    title="Ladder and plain hierarchy",
    text=(
        "Several layers of latents, inferred bottom-up (Burda et al. 2016, "
        "arXiv:1509.00519) or on a ladder, whose posterior meets the prior on the way "
        "down (Sonderby et al. 2016, arXiv:1602.02282), both with warm-up and without "
        "the paper's batch normalisation. The short preset has tanh units: with "
        "rectifiers as many epochs leave fewer upper units in use."
    ),
    presets={
        "short": _trainings("32,16,8,8,4", "256,128,64,32,32", "tanh", 20, 10, 100),
        "paper": _trainings(
            "64,32,16,8,4", "512,256,128,64,32", "leaky_relu", 2000, 200, 256
        ),
    },
    show=_show,
)
