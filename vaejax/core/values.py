"""The types of values: arrays in NamedTuples; and `record`, for bundles of functions.

Records hold functions: static, hashable, never a pytree. NamedTuples hold arrays. No
type is both.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform, get_origin

import jax
import jaxtyping
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vaejax.core.errors import VaejaxError
from vaejax.core.ranges import mismatch, shown

Key = PRNGKeyArray
Keys = jaxtyping.Key[Array, " B"]
PyTree = Any
DistParams = PyTree  # the parameters of one distribution, as arrays
Event = PyTree  # one outcome of a distribution
Scalar = Float[Array, ""]
Stats = dict[str, Scalar]  # the figures that an estimator reports for one example

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass: a static bundle of functions.

    A record with a name prints it, as in `Bound('iwae')`, and not its functions. A
    record without a name prints the fields that are no defaults, functions by name.
    """
    has_own_repr = "__repr__" in vars(cls)
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    init: Callable[..., None] = made.__init__
    words = {
        name: note
        for name, note in cls.__annotations__.items()
        if get_origin(note) is Literal
    }

    @functools.wraps(init)
    def by_name(self: T, *positional: Any, **fields: Any) -> None:
        if positional:
            names = ", ".join(f"{name}=..." for name in cls.__annotations__)
            raise VaejaxError(
                f"{cls.__name__} takes its fields by name, and was given "
                f"{len(positional)} without a name: write {cls.__name__}({names}), or "
                "fewer of these fields"
            )
        if not isinstance(name := fields.get("name", ""), str):
            raise VaejaxError(
                f"the name of a {cls.__name__} is {shown(name)}: give a word"
            )
        for word in words.keys() & fields.keys():
            if expected := mismatch(words[word], fields[word]):
                raise VaejaxError(
                    f"{word} of a {cls.__name__} is {shown(fields[word])}: "
                    f"give {expected}"
                )
        init(self, **fields)

    made.__init__ = by_name  # type: ignore[assignment, method-assign]
    if has_own_repr:
        return made
    if "name" in cls.__annotations__:
        made.__repr__ = lambda self: f"{cls.__name__}({self.name!r})"  # type: ignore
    else:
        made.__repr__ = _by_fields  # type: ignore[method-assign]
    return made


def _by_fields(self: Any) -> str:
    """The fields that are no defaults; of a function, the name."""
    texts = []
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if value is not field.default:
            function = value.func if isinstance(value, functools.partial) else value
            texts.append(f"{field.name}={getattr(function, '__name__', repr(value))}")
    return f"{type(self).__name__}({', '.join(texts)})"


class Example(NamedTuple):
    """One observation."""

    x: Array  # [*event]
    # The conditioning variable of a conditional model; the position in the training
    # data where a prior made of these data leaves out the example's component.
    y: Array | None = None


class Batch(NamedTuple):
    """B observations and the indices that their random keys are folded from."""

    example: Example  # every leaf [B, ...]
    global_index: Int[Array, " B"]  # position in the global batch, whatever the devices


class Auxiliary(NamedTuple):
    """The `Params.auxiliary` of a training whose regularizers have parameters.

    The fields are the parameters of the estimator and of each regularizer, in order.
    """

    estimator: PyTree
    regularizers: tuple[PyTree, ...]


class Params(NamedTuple):
    """All trainable parameters; the fields are the groups that reports name."""

    encoder: PyTree
    decoder: PyTree
    prior: PyTree
    auxiliary: PyTree = ()  # learned baselines, control variates, discriminators

    def __repr__(self) -> str:
        """The number of arrays and of numbers in each group."""
        groups = []
        for name, group in zip(self._fields, self, strict=True):
            sizes = [getattr(leaf, "size", 1) for leaf in jax.tree.leaves(group)]
            groups.append(f"{name}: {sum(sizes):,} numbers in {len(sizes)} arrays")
        return f"Params({', '.join(groups)})"


def fold_examples(key: Key, index: Int[Array, " B"]) -> Keys:
    """One key per example, [B], folded from its index: the same on any device count.

    `key` is consumed.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
