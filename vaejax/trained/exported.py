"""A trained model as arrays, and as programs that need neither vaejax nor its data.

    encode(weights, x)                 the mean of q(z | x)
    decode(weights, z)                 the mean of p(x | z)
    log_likelihood(weights, x, seed)   log p(x) by importance sampling, in nats

`jax.export` makes StableHLO of these functions, for any number of examples. A model of
labels takes y after x and z. Under a protocol of intensities, x is what the model sees:
bits, or levels from 0 to 1. Other numbers are in the data's own units.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.scipy.special import logsumexp
from jaxtyping import Array

from vaejax.core import (
    Example,
    Key,
    Model,
    Params,
    PyTree,
    Scalar,
    VaejaxError,
    fold_examples,
    plain,
)
from vaejax.core.doors import expect_count
from vaejax.terms import weigh_own_samples
from vaejax.trained import per_example
from vaejax.trained.model import TrainedModel
from vaejax.trained.units import in_own_units

CHUNK = 100  # samples of one example that are decoded at once
PLATFORMS = "cpu", "cuda", "tpu"

Weights = dict[str, Any]


def weights(run: TrainedModel) -> dict[str, np.ndarray]:
    """The parameters by path, as in `encoder.layers.0.kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(run.params)
    }


def programs(run: TrainedModel, num_samples: int = 1000) -> dict[str, export.Exported]:
    """The programs by name; a posterior without a density has no log_likelihood.

    Args:
        run: the trained model.
        num_samples: S, importance samples of each log p(x). Sample s of example n uses
            `fold_in(fold_in(key(seed), n), s)`, as in `vaejax.log_likelihood`.

    Raises:
        VaejaxError: a prior that is made of the training data.
    """
    model, recipe, units = run.model, run.recipe, run.recipe.standardization
    if model.labels.positions:
        raise VaejaxError(
            f"the prior of {model.name} is made of its training data, which an export "
            "leaves out: use vaejax.load"
        )
    num_samples = expect_count("num_samples", num_samples)
    own = weights(run)

    def params_of(given: Weights) -> Params:
        leaves = [given[name] for name in own]
        return jax.tree.unflatten(jax.tree.structure(run.params), leaves)

    def examples_of(x: Array, *y: Array) -> Example:
        seen: Any = x if units is None else jax.vmap(units.apply)(x)
        return Example(seen, *y)

    def codes_of(given: Weights, x: Array, *y: Array) -> PyTree:
        q = jax.vmap(partial(model.encode, params_of(given)))(examples_of(x, *y))
        return jax.vmap(model.posterior.mean)(q)

    def encode(given: Weights, x: Array, *y: Array) -> PyTree:
        codes = jax.tree.leaves(codes_of(given, x, *y))
        return codes[0] if len(codes) == 1 else tuple(codes)

    def decode(given: Weights, z: PyTree, *y: Array) -> Array:
        params = params_of(given)

        def decode_one(row: tuple[PyTree, Array | None]) -> Array:
            return in_own_units(recipe, per_example.decode(model, params, row))

        codes = jax.tree.unflatten(code_structure, jax.tree.leaves(z))
        return jax.vmap(decode_one)((codes, *(y or (None,))))

    def log_likelihood(given: Weights, x: Array, *y_and_seed: Array) -> Array:
        *y, seed = y_and_seed
        keys = fold_examples(jax.random.key(seed), jnp.arange(x.shape[0]))
        log_px_one = partial(_log_px, model, num_samples, params_of(given))
        log_px = jax.vmap(log_px_one)(keys, examples_of(x, *y))
        return log_px if units is None else log_px - jax.vmap(change)(x)

    def change(x: Array) -> Array:
        assert units is not None
        return jnp.where(jnp.isnan(x), 0, jnp.log(units.scale)).sum()

    (count,) = export.symbolic_shape("count")
    like = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in own.items()}
    shape = model.data_shape or recipe.data_shape
    x = jax.ShapeDtypeStruct((count, *shape), jnp.result_type(float))
    labelled = model.labels.num_classes is not None
    y = (jax.ShapeDtypeStruct((count,), jnp.int32),) if labelled else ()
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    code_structure = jax.tree.structure(jax.eval_shape(codes_of, like, x, *y))

    made = partial(export.export, platforms=PLATFORMS)
    found = {"encode": made(jax.jit(encode))(like, x, *y)}
    z = jax.eval_shape(encode, like, x, *y)
    found["decode"] = made(jax.jit(decode))(like, z, *y)
    if model.posterior.has_density:
        found["log_likelihood"] = made(jax.jit(log_likelihood))(like, x, *y, seed)
    return found


def _log_px(
    model: Model, num_samples: int, params: Params, key: Key, example: Example
) -> Scalar:
    """The estimate log 1/S sum_s w_s, over chunks of the samples."""
    dist_params = model.encode(params, example)

    def add_chunk(total: Scalar, start: Array) -> tuple[Scalar, None]:
        index = start + jnp.arange(CHUNK)
        keys = fold_examples(key, index)
        log_w = plain(weigh_own_samples(model, params, dist_params, keys, example))
        log_w = jnp.where(index < num_samples, log_w, -jnp.inf)
        return jnp.logaddexp(total, logsumexp(log_w)), None

    starts = jnp.arange(0, num_samples, CHUNK)
    total, _ = jax.lax.scan(add_chunk, jnp.array(-jnp.inf), starts)
    return total - math.log(num_samples)
