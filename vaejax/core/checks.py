"""The check of the user's data: shape, dtype, support, labels, finiteness.

Every public function that takes data calls `check_data` once, eagerly. A refusal is
one sentence: what was given, what is expected, what to do.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from vaejax.core.arrays import as_array, count_of, is_true
from vaejax.core.doors import expect_example
from vaejax.core.errors import VaejaxError
from vaejax.core.family import Family, Kind, Space
from vaejax.core.labels import check_labels
from vaejax.core.model import Model
from vaejax.core.values import Batch, Example


def check_data(
    model: Model,
    examples: Example | Batch,
    *,
    name: str = "examples",
    batch_ndim: int = 1,
    known: Bool[Array, "..."] | None = None,
) -> Example:
    """Return the examples as arrays that the model can take, or refuse them.

    Every public function that takes data calls this function once. It reads x once, on
    the device of x, and fetches one bit. Traced arrays have their shapes and dtypes
    checked, but not their values.

    Args:
        model: whose `data_shape`, likelihood and labels say what is expected.
        examples: x, and y where the model needs labels, as the model sees them; of a
            `Batch`, its example.
        name: of the argument, for messages.
        batch_ndim: leading axes of every leaf, before those of one example.
        known: True where x counts; the values elsewhere are not looked at.

    Returns:
        x as floats of 32 bits or more: booleans, integers and narrower floats keep
        their values. Labels as integers of 32 bits.

    Raises:
        VaejaxError: no `Example`, or one without any examples; another shape than
            `data_shape`; a dtype that floats cannot hold; values that are not finite,
            except NaN where the likelihood takes it for what is missing; values outside
            the likelihood's support; labels that are missing, no integers,
            or outside the model's classes.
    """
    examples = as_arrays(expect_example(name, examples))
    x = _as_floats(examples.x)
    event = x.shape[batch_ndim:] if model.data_shape is None else model.data_shape
    if x.ndim < batch_ndim or x.shape[batch_ndim:] != event:
        expected = ", ".join([*"NKBM"[:batch_ndim], *map(str, event)])
        raise VaejaxError(
            f"x is of shape {x.shape}, and {model.name} takes [{expected}]: reshape x, "
            "or build the model with another data_shape"
        )
    if 0 in x.shape[:batch_ndim]:
        raise VaejaxError(f"x is of shape {x.shape}: give at least one example")
    y = check_labels(model, examples.y, x.shape[:batch_ndim])
    if not isinstance(x, jax.core.Tracer):
        check_support(model.likelihood, x, batch_ndim=batch_ndim, known=known)
    return examples._replace(x=x, y=y)


def check_support(
    family: Family,
    x: Float[Array, "..."],
    *,
    batch_ndim: int = 1,
    known: Bool[Array, "..."] | None = None,
) -> None:
    """Refuse observations that are no outcomes of a likelihood.

    Raises:
        VaejaxError: with their number, the first of them, and what to do.
    """
    with jax.ensure_compile_time_eval():  # x is known, also where others are traced
        if is_true(_any_outside(family.space, x, known)):
            outside = np.asarray(_outside(family.space, x, known))
            raise VaejaxError(_describe(family, np.asarray(x), outside, batch_ndim))


def as_arrays(examples: Example) -> Example:
    """Return the examples as arrays that keep every value, or refuse them.

    Raises:
        VaejaxError: x that is not made of numbers; what `as_array` refuses.
    """
    x = as_array("x", examples.x)
    kinds = jnp.floating, jnp.integer, jnp.bool_
    if not any(jnp.issubdtype(x.dtype, kind) for kind in kinds):
        raise VaejaxError(f"x is of dtype {x.dtype}: use floats, integers or booleans")
    y = None if examples.y is None else as_array("y", examples.y)
    return examples._replace(x=x, y=y)


def _as_floats(x: Any) -> Array:
    """The array as floats; integers keep their values exactly."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.asarray(x, jnp.float32 if x.dtype.itemsize < 4 else None)
    small = x.dtype.itemsize <= 2  # cheap to move; JAX would cut others to 32 bits
    floats = (jnp.asarray(x) if small else x).astype(jnp.result_type(float))
    if not small and is_true((floats.astype(x.dtype) != x).any()):
        raise VaejaxError(
            f"x holds integers that {floats.dtype} rounds: use smaller integers, or "
            "floats"
        )
    return jnp.asarray(floats)


def _outside(
    space: Space, x: Float[Array, "..."], known: Bool[Array, "..."] | None
) -> Bool[Array, "..."]:
    """True for values outside the space; one flag per event where coordinates join."""
    match space.kind:
        case "bits":
            inside = (x == 0) | (x == 1)
        case "counts":
            inside = (x >= 0) & (x == jnp.round(x))
        case "levels":
            assert space.levels is not None
            number = x * (space.levels - 1)
            inside = (x >= 0) & (x <= 1) & (jnp.abs(number - jnp.round(number)) < 0.01)
        case "classes":
            assert space.levels is not None
            inside = (x >= 0) & (x < space.levels) & (x == jnp.round(x))
        case "columns":
            each = [
                _outside(column, x[..., i], None)
                for i, column in enumerate(space.columns)
            ]
            inside = ~jnp.stack(each, -1)
        case "interval":
            inside = (x >= space.low) & (x <= space.high)
            if space.open:
                inside &= (x > space.low) & (x < space.high)
        case "positive":
            inside = x > 0
        case "simplex":
            inside = (x > 0) & (jnp.abs(x.sum(-1, keepdims=True) - 1) < 1e-3)
        case "sphere":
            length = jnp.square(x).sum(-1, keepdims=True)
            inside = jnp.abs(jnp.broadcast_to(length, x.shape) - 1) < 1e-3
        case "one_hot":
            inside = ((x == 0) | (x == 1)) & (x.sum(-1, keepdims=True) == 1)
        case "reals":
            inside = jnp.ones(x.shape, bool)
    outside = ~(inside & jnp.isfinite(x))
    if space.missing:
        outside &= ~jnp.isnan(x)
    return outside if known is None else outside & known


@partial(jax.jit, static_argnums=0)
def _any_outside(
    space: Space, x: Float[Array, "..."], known: Bool[Array, "..."] | None
) -> Bool[Array, ""]:
    if space.kind not in ("simplex", "sphere", "one_hot", "columns"):
        # Flat: XLA's CPU reductions over a short last axis are slow.
        x, known = jax.tree.map(jnp.ravel, (x, known))
    return _outside(space, x, known).any()


SCALE = "divide intensities from 0 to 255 by 255"
EXPECTED: dict[Kind, tuple[str, str]] = {
    "bits": (
        "0 and 1",
        "binarize x, as observe=vaejax.data.PROTOCOLS['dynamic'].sample does for `fit`",
    ),
    "counts": ("whole numbers from 0", "give counts"),
    "levels": (
        "the grey levels i / {steps} for i from 0 to {steps}",
        f"{SCALE} and round to a level",
    ),
    "classes": (
        "whole numbers from 0 to {steps}",
        "number the classes from 0, or give the column another kind",
    ),
    "interval": ("{between}", SCALE),
    "positive": ("numbers above 0", "leave others out"),
    "simplex": ("positive numbers of sum 1 in the last axis", "divide x by its sums"),
    "sphere": ("vectors of length 1 in the last axis", "divide x by its lengths"),
    "one_hot": ("a single 1 among 0s in the last axis", "encode x with jax.nn.one_hot"),
}


def _describe(
    family: Family,
    x: Float[np.ndarray, "..."],
    outside: Bool[np.ndarray, "..."],
    batch_ndim: int,
) -> str:
    """Describe the values at fault: number, first value, expected values, remedy."""
    infinite = outside & ~np.isfinite(x)
    wrong = infinite if infinite.any() else outside
    place = tuple(map(int, np.unravel_index(wrong.argmax(), x.shape)))
    values = f"{np.count_nonzero(wrong):,} of {x.size:,} values of x"
    first = f"the first is {x[place]:.6g}, at x{list(place)}"
    if infinite.any():
        where = ""
        if batch_ndim:
            rows = np.flatnonzero(wrong.reshape(len(x), -1).any(1))
            where = f", in {count_of(rows, len(x))}"
        return (
            f"{values} are not finite{where}: {first}. Leave such examples out, "
            "fill in what is missing, or mark it by NaN and set likelihood.missing=true"
        )
    space, where = family.space, ""
    if space.columns:
        space, where = space.columns[place[-1]], f" in column {place[-1]}"
    takes, remedy = EXPECTED[space.kind]
    ends = f"numbers from {space.low:g} to {space.high:g}"
    between = ends + ", both left out" * space.open
    takes = takes.format(steps=(space.levels or 1) - 1, between=between)
    return (
        f"the likelihood {family.name} takes {takes}{where}, and {values} are others: "
        f"{first}. Change the data ({remedy}), or use a likelihood that takes them: "
        + ", ".join(LIKELIHOODS_OF[kind_of(x)])
    )


REALS = "fixed_normal", "diagonal_normal", "shared_normal", "laplace", "fixed_laplace"
INTERVAL = "continuous_bernoulli", "pixel_beta", "truncated_normal", *REALS
# The likelihoods of `vaejax.models.parts` that take numbers of a kind, the first those
# of this kind alone. A density of real numbers is no likelihood of bits: it is
# unbounded.
LIKELIHOODS_OF: dict[Kind, tuple[str, ...]] = {
    "bits": ("bernoulli",),
    "counts": ("poisson", "negative_binomial", "multinomial", *REALS),
    "levels": (
        *("discretized_logistic", "categorical_levels"),
        *("mixture_of_discretized_logistics", *INTERVAL),
    ),
    "interval": INTERVAL,
    "positive": REALS,
    "reals": REALS,
}


def kind_of(x: Float[ArrayLike, "..."], levels: int | None = 256) -> Kind:
    """The narrowest kind of `LIKELIHOODS_OF` that all values are of; NaN is left out.

    Args:
        x: numbers.
        levels: the number of grey levels to look for; None looks for none.

    Examples:
        >>> [vaejax.core.kind_of(np.array([0.0, x])) for x in (1, 7, 0.3, -2.5)]
        ['bits', 'counts', 'interval', 'reals']
    """
    x = jnp.asarray(x)
    for kind in LIKELIHOODS_OF:
        looked_for = kind != "levels" or levels is not None
        if looked_for and not _any_outside(Space(kind, levels), x, ~jnp.isnan(x)):
            return kind
    return "reals"
