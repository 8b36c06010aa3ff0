"""The model and the observations that an experiment measures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jaxtyping import Array

from experiments.harness.names import labels_in_turn
from experiments.training.load import load_final, load_run
from vaejax.benchmark.cells import Keys
from vaejax.core import (
    EstState,
    Example,
    Key,
    Model,
    Params,
    VaejaxError,
    build,
    own_code,
)
from vaejax.core.memory import check_fits
from vaejax.estimators import ESTIMATORS
from vaejax.models import MODELS


class RunKeys(NamedTuple):
    """The random streams of a run that measures gradients."""

    params: Key  # for a registered model's initial parameters
    examples: Key  # for samples of that model
    comparison: Keys


def make_keys(seed: int) -> RunKeys:
    """Split the seed's key."""
    params, examples, *others = jax.random.split(jax.random.key(seed), 6)
    return RunKeys(params, examples, Keys(*others))


class Measured(NamedTuple):
    """A model at fixed parameters, with its observations."""

    name: str
    model: Model
    params: Params
    examples: Example  # every leaf [count, ...]
    estimator: str | None = None  # its name, with its settings
    state: EstState = ()  # state of that estimator


def of_registry(
    name: str,
    settings: Sequence[str],
    count: int,
    *,
    params_key: Key,
    examples_key: Key,
) -> Measured:
    """A registered model at its initial parameters, on its own samples.

    Raises:
        VaejaxError: an unknown model, or a setting that cannot be.
    """
    model = build(MODELS, name, settings)
    y = labels_in_turn(model, count)

    def sample(params: Params, key: Key, y: Array | None) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        z = model.latent_prior.sample(z_key, model.prior(params, y))
        return model.likelihood.sample(x_key, model.decode(params, z, y))

    def make() -> tuple[Params, Array]:
        params = model.init(params_key)
        keys = jax.random.split(examples_key, count)
        return params, jax.vmap(sample, (None, 0, 0))(params, keys, y)

    check_fits(f"{name} and its {count:,} observations", make)
    params, x = make()
    return Measured(name, model, params, Example(x, y))


def of_checkpoint(folder: Path, count: int, count_name: str) -> Measured:
    """A trained model, on the first of its test images.

    Raises:
        VaejaxError: the folder holds no trained run, or too few test images.
    """
    trained = load_run(folder)
    params, state = load_final(trained)
    config = trained.config
    with own_code.of_run(folder):
        estimator = build(ESTIMATORS, config.estimator, config.estimator_settings)
    test = trained.data.test
    if count > len(test.x):
        raise VaejaxError(
            f"{count_name} is {count}, but {folder} has only {len(test.x)} test "
            "images: use a smaller one"
        )
    return Measured(
        f"{config.model} of {folder}",
        trained.model,
        params,
        jax.tree.map(lambda leaf: leaf[:count], test),
        estimator.name,
        state,
    )
