"""Rows of a table whose columns are of different kinds, with missing values.

    log p(x | z) = sum over observed columns d of log p_d(x_d | z)

A column is described by a word:

    normal  normal:LOC:SCALE          real numbers
    log_normal  log_normal:LOC:SCALE  positive numbers, whose logarithm is normal
    poisson                           counts
    bernoulli                         0 and 1
    categorical:C                     the number of one of C classes, from 0

LOC and SCALE are those of the column, or of its logarithm: a network's outputs are in
their units, and the encoder sees the column standardised, so that densities are in the
units of the data. Of a categorical column the encoder sees the class as a one-hot
vector, of counts log(1 + x), and of every column whether it is missing. NaN marks a
missing value (see `masked`).

Source: mixed likelihoods with missing values, Nazabal et al. 2020, arXiv:1807.03653.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Family,
    Head,
    Key,
    Scalar,
    Space,
    VaejaxError,
    head_of,
    record,
)
from vaejax.core.build import checked
from vaejax.core.ranges import shown
from vaejax.families.bernoulli import bernoulli
from vaejax.families.masked import masked
from vaejax.families.normal import NormalParams, diagonal_normal
from vaejax.families.poisson import poisson
from vaejax.ops.random import one_pass

MOST_CLASSES = 100


@checked
def columns(columns: tuple[str, ...] = ("normal",)) -> Family:
    """Independent columns of mixed kinds given z; NaN in x is a missing value.

    The parameters are a network's outputs, [R, *event], with R those of the column that
    takes the most: 2 for normal ones, C for C classes; a column ignores the rest.

    Args:
        columns: a word for each column, or one word for all, as above. `schema_of`
            proposes them from a table.

    Raises:
        VaejaxError: a word that describes no column; at its use, data with another
            number of columns.
    """
    groups = _grouped(columns)
    size = max(head_of(group.family).outputs_per_coordinate for group in groups)

    def params(group: _Group, outputs: Float[Array, "R ..."]) -> DistParams:
        head, own = head_of(group.family), outputs.reshape(size, -1)[:, group.where]
        return head.from_outputs(own[: head.outputs_per_coordinate])

    def from_outputs(outputs: Float[Array, "R ..."]) -> Float[Array, "R ..."]:
        if len(columns) > 1 and outputs.shape[1:] != (len(columns),):
            raise VaejaxError(
                f"likelihood.columns describes {len(columns)} columns, and the data "
                f"are of shape {outputs.shape[1:]}: give a word for each column, or "
                "one word for all"
            )
        return outputs

    def log_prob(outputs: Float[Array, "R ..."], x: Float[Array, "*event"]) -> Scalar:
        return sum(
            (
                masked(group.family).log_prob(
                    params(group, outputs), x.reshape(-1)[group.where]
                )
                for group in groups
            ),
            jnp.zeros(()),
        )

    def joined(
        outputs: Float[Array, "R ..."], part: Callable[[int, _Group], Array]
    ) -> Float[Array, "*event"]:
        x = jnp.zeros(outputs[0].size, outputs.dtype)
        for number, group in enumerate(groups):
            x = x.at[group.where].set(part(number, group))
        return x.reshape(outputs.shape[1:])

    def sample(key: Key, outputs: Float[Array, "R ..."]) -> Float[Array, "*event"]:
        keys = jax.random.split(key, len(groups))
        return joined(
            outputs,
            lambda number, group: group.family.sample(
                keys[number], params(group, outputs)
            ),
        )

    def mean(outputs: Float[Array, "R ..."]) -> Float[Array, "*event"]:
        return joined(
            outputs, lambda number, group: group.family.mean(params(group, outputs))
        )

    def to_outputs(mean: Float[Array, "*event"]) -> Float[Array, "R ..."]:
        outputs = jnp.zeros((size, mean.size), mean.dtype)
        for group in groups:
            own = head_of(group.family).to_outputs(mean.reshape(-1)[group.where])
            outputs = outputs.at[: len(own), group.where].set(own)
        return outputs.reshape(size, *mean.shape)

    def features(x: Float[Array, "*event"]) -> Float[Array, " F"]:
        x = x.reshape(-1)
        seen = [group.features(x[group.where]).reshape(-1) for group in groups]
        return jnp.concatenate([*seen, jnp.isnan(x).astype(x.dtype)])

    if len(columns) == 1:
        space = groups[0].family.space
    else:
        each = {i: group.family.space for group in groups for i in group.numbers}
        space = Space("columns", columns=tuple(each[i] for i in range(len(columns))))
    return Family(
        name="columns",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        head=Head(
            outputs_per_coordinate=size,
            from_outputs=from_outputs,
            to_outputs=to_outputs,
        ),
        space=space._replace(missing=True),
        exact_mean=all(group.family.exact_mean for group in groups),
        features=features,
    )


@record
class _Group:
    """The columns of one kind."""

    family: Family  # of n independent coordinates
    features: Callable[[Array], Array]  # what an encoder sees of these, [n]
    numbers: tuple[int, ...]  # of the columns

    @property
    def where(self) -> np.ndarray | slice:
        """The places in a row; a lone word describes all of them."""
        return slice(None) if self.numbers == () else np.array(self.numbers)


def _normal(locs: np.ndarray, scales: np.ndarray) -> tuple[Family, Callable]:
    normal = diagonal_normal()

    def from_outputs(outputs: Float[Array, "2 n"]) -> NormalParams:
        return NormalParams(locs + scales * outputs[0], np.log(scales) + outputs[1])

    def to_outputs(mean: Float[Array, " n"]) -> Float[Array, "2 n"]:
        return jnp.stack([(mean - locs) / scales, jnp.zeros_like(mean)])

    head = Head(
        outputs_per_coordinate=2, from_outputs=from_outputs, to_outputs=to_outputs
    )
    return dataclasses.replace(normal, head=head), lambda x: (x - locs) / scales


def _log_normal(locs: np.ndarray, scales: np.ndarray) -> tuple[Family, Callable]:
    normal, features = _normal(locs, scales)
    head = head_of(normal)

    def log_prob(params: NormalParams, x: Float[Array, " n"]) -> Scalar:
        return normal.log_prob(params, jnp.log(x)) - jnp.log(x).sum()

    def to_outputs(mean: Float[Array, " n"]) -> Float[Array, "2 n"]:
        tiny = jnp.finfo(mean.dtype).tiny
        return head.to_outputs(jnp.log(jnp.maximum(mean, tiny)) - scales**2 / 2)

    return Family(
        name="log_normal",
        sample=lambda key, params: jnp.exp(normal.sample(key, params)),
        log_prob=log_prob,
        mean=lambda params: jnp.exp(params.loc + jnp.exp(2 * params.log_scale) / 2),
        head=dataclasses.replace(head, to_outputs=to_outputs),
        space=Space("positive"),
        factorised=True,
    ), lambda x: features(jnp.log(x))


def _classes(count: int) -> tuple[Family, Callable]:
    def log_prob(logits: Float[Array, "C n"], x: Float[Array, " n"]) -> Scalar:
        chosen = jax.nn.one_hot(x.astype(int), count, axis=0, dtype=logits.dtype)
        return (chosen * jax.nn.log_softmax(logits, 0)).sum()

    def sample(key: Key, logits: Float[Array, "C n"]) -> Float[Array, " n"]:
        drawn = jax.random.categorical(one_pass(key), logits, axis=0)
        return drawn.astype(logits.dtype)

    return Family(
        name="categorical",
        sample=sample,
        log_prob=log_prob,
        mean=lambda logits: logits.argmax(0).astype(logits.dtype),  # the mode
        head=Head(
            outputs_per_coordinate=count,
            from_outputs=lambda outputs: outputs,
            # The mean of the numbers of classes says nothing of their shares.
            to_outputs=lambda mean: jnp.zeros((count, *mean.shape), mean.dtype),
        ),
        space=Space("classes", count),
        factorised=True,
        exact_mean=False,
    ), lambda x: (x[:, None] == jnp.arange(count)[None]).astype(
        x.dtype
    )  # of NaN, zeros


def _grouped(words: Sequence[str]) -> list[_Group]:
    """The groups of columns of one kind, from the words of all columns."""
    members: dict[str, list[int]] = {}
    for number, word in enumerate(words):
        kind, _, _ = word.partition(":")
        key = kind if kind in ("normal", "log_normal") else word
        members.setdefault(key, []).append(number)
    if not members:
        raise VaejaxError(f"columns is {shown(words)}: give a word for each column")
    groups = []
    for numbers in members.values():
        family, features = _kind([words[number] for number in numbers])
        own = () if len(words) == 1 else tuple(numbers)
        groups.append(_Group(family=family, features=features, numbers=own))
    return groups


def _kind(words: list[str]) -> tuple[Family, Callable]:
    """The family of columns of one kind, and what an encoder sees of them."""
    parts = [word.split(":") for word in words]
    match parts[0]:
        case ["normal" | "log_normal" as kind, *_]:
            units = np.array([_units(*part) for part in parts]).T
            return (_normal if kind == "normal" else _log_normal)(*units)
        case ["poisson"]:
            return poisson(), jnp.log1p
        case ["bernoulli"]:
            return bernoulli(), lambda x: x
        case ["categorical", count] if (
            count.isdigit() and 2 <= int(count) <= MOST_CLASSES
        ):
            return _classes(int(count))
    raise _no_column(words[0])


def _units(kind: str, *units: str) -> tuple[float, float]:
    """The location and the scale in a column's word."""
    try:
        loc, scale = map(float, units or ("0", "1"))
    except ValueError:
        raise _no_column(":".join((kind, *units))) from None
    if not (abs(loc) < np.inf and 0 < scale < np.inf):  # so that NaN is refused too
        raise _no_column(":".join((kind, *units)))
    return loc, scale


def _no_column(word: str) -> VaejaxError:
    return VaejaxError(
        f"{shown(word)} describes no column: write normal, log_normal, "
        "normal:LOC:SCALE or log_normal:LOC:SCALE with a SCALE above 0, poisson, "
        "bernoulli, or "
        f"categorical:C with 2 to {MOST_CLASSES} classes"
    )
