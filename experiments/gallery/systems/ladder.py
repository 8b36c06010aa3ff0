"""The ladder against the plain hierarchy: the layers that stay in use."""

from collections.abc import Mapping

import jax
import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.harness.json_files import read_json
from experiments.training.config import Config
from vaejax.evaluation import layer_kl
from vaejax.plotting import Table, bars_by_layer

MODELS = {"ladder": "ladder_mlp", "hierarchy": "hierarchical_mlp"}
ACTIVE = 0.01  # nats of a unit, as in the ladder's paper


def _trainings(
    latent_dims: str,
    hidden: str,
    activation: str,
    epochs: int,
    warm_up: int,
    batch_size: int,
    learning_rate: float,
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
            learning_rate=learning_rate,
            eval_num_samples=100,
            eval_examples=1000,
        )
        for label, model in MODELS.items()
    }


def _nats(trained: Trained) -> list[np.ndarray]:
    """The KL divergence of every unit, an array per layer, from the lowest up."""
    key = jax.random.key(0)
    return layer_kl(trained.model, trained.params, trained.data.test, key)


def _show(trained: Mapping[str, Trained]) -> Shown:
    nats = {label: _nats(one) for label, one in trained.items()}
    active = {
        label: [int((layer > ACTIVE).sum()) for layer in layers]
        for label, layers in nats.items()
    }
    tests = {
        label: read_json(one.config.out / "results.json")["test"]
        for label, one in trained.items()
    }
    upper = {label: sum(layers[1:]) for label, layers in active.items()}
    ladder, plain = MODELS
    words = "more" if upper[ladder] > upper[plain] else "no more"
    gain = tests[ladder]["elbo"] - tests[plain]["elbo"]
    error = float(np.hypot(tests[ladder]["elbo_error"], tests[plain]["elbo_error"]))
    better = "better" if gain > 2 * error else "no better"
    layers = range(1, len(active[ladder]) + 1)
    rows = [
        (label, f"{test['elbo']:.2f} ± {test['elbo_error']:.2f}", *told)
        for label, test in tests.items()
        for told in [
            [
                f"{count} ({layer.sum():.1f})"
                for count, layer in zip(active[label], nats[label], strict=True)
            ]
        ]
    ]
    return Shown(
        numbers={f"elbo {label}": test["elbo"] for label, test in tests.items()}
        | {f"upper active units {label}": float(n) for label, n in upper.items()},
        finding=(
            f"with {len(layers)} layers the ladder keeps {words} units active above "
            f"the first, {upper[ladder]} against {upper[plain]}, at a {better} test "
            f"ELBO, {tests[ladder]['elbo']:.2f} against {tests[plain]['elbo']:.2f} "
            f"nats with a Monte Carlo error of {error:.2f}; one seed."
        ),
        figures=[bars_by_layer(active, "active units")],
        tables=[
            Table(
                ("inference", "test ELBO, nats", *(f"layer {i}" for i in layers)),
                rows,
                f"Units of every layer whose KL divergence is above {ACTIVE} nats, and "
                "the layer's in brackets; layer 1 is next to the data.",
            )
        ],
    )


ladder = Entry(
    title="Ladder and plain hierarchy",
    text=(
        "Several layers of latents, inferred bottom-up (Burda et al. 2016, "
        "arXiv:1509.00519) or on a ladder, whose posterior meets the prior on the way "
        "down (Sonderby et al. 2016, arXiv:1602.02282), both with warm-up and without "
        "the paper's batch normalisation. The short preset has tanh units and 20 "
        "epochs."
    ),
    presets={
        "short": _trainings(
            "32,16,8,8,4", "256,128,64,32,32", "tanh", 20, 10, 100, 2e-3
        ),
        "paper": _trainings(
            "64,32,16,8,4", "512,256,128,64,32", "leaky_relu", 2000, 200, 256, 2e-4
        ),
    },
    show=_show,
)
