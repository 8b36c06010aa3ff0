"""Type checks of the arguments of public functions; an error is one sentence."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import jax
import jax.numpy as jnp

from vaejax.core.errors import VaejaxError
from vaejax.core.factories import REGISTRIES, settings_of
from vaejax.core.model import Model
from vaejax.core.ranges import Range, mismatch, shown
from vaejax.core.values import Batch, Example, Key, Params

T = TypeVar("T")

# An expression that makes one of another kind.
EXAMPLES = {
    "GradientTransformation": "optax.adam(1e-3)",
    "Mesh": "vaejax.sharding.training_mesh(batch_size)",
    "Network": "vaejax.nets.mlp(...)",
    "Objective": "vaejax.make_objective(...)",
    "Params": "model.init(key)",
    "TrainState": (
        "vaejax.training.init_state(objective, optimizer, key), or as "
        "vaejax.training.restore reads"
    ),
}


def expect(kind: type[T], name: str, value: Any) -> T:
    """Return the value if it is a record of this kind.

    Raises:
        VaejaxError: a registered name, a factory that was not called, or another type.
    """
    if isinstance(value, kind):
        return value
    registry = REGISTRIES.get(kind.__name__)
    remedy = ""
    if kind.__name__ in EXAMPLES:
        remedy = f": give one, as in {EXAMPLES[kind.__name__]}"
    if isinstance(value, str):
        given = f"the name {shown(value)}"
        if registry:
            remedy = (
                f": build it, as in vaejax.build(vaejax.{registry}, {shown(value)})"
            )
    elif callable(value) and hasattr(value, "__name__"):
        given = f"the function {value.__name__}"
        remedy = f": call it, as in {value.__name__}(...)"
        if "<" in value.__qualname__:  # a lambda or a closure, which is no factory
            remedy = f": make one of your functions, as in {_made_of_its_fields(kind)}"
            if registry:
                remedy += f", or build one, as in vaejax.build(vaejax.{registry}, name)"
    else:
        given = "None" if value is None else _with_article(type(value))
        if registry:
            remedy = f": build one, as in vaejax.build(vaejax.{registry}, name)"
    raise VaejaxError(f"{name} must be {_with_article(kind)}, and is {given}{remedy}")


def expect_all(kind: type[T], name: str, values: Any, least: int = 1) -> list[T]:
    """Return the values if there are enough and each is of this kind.

    A value of this kind that is in no sequence is returned as the only one.

    Raises:
        VaejaxError: one of another kind, or fewer than `least`.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        values = [values]
    if len(values) < least:
        raise VaejaxError(f"{name} is empty: give one {kind.__name__} or more")
    return [expect(kind, f"{name}[{i}]", value) for i, value in enumerate(values)]


def expect_observe(observe: Any) -> None:
    """Refuse a value that is neither a function nor None.

    Raises:
        VaejaxError: the name of a protocol, a protocol, or another value.
    """
    if observe is not None and not callable(observe):
        name = observe if isinstance(observe, str) else "dynamic"
        raise VaejaxError(
            f"observe is {shown(observe)}: give a function of a key and an example, as "
            f"vaejax.data.PROTOCOLS[{shown(name)}].sample"
        )


def expect_callback(name: str, given: Any) -> None:
    """Refuse a value that is neither a function nor None.

    Raises:
        VaejaxError: naming the argument and its value.
    """
    if given is not None and not callable(given):
        raise VaejaxError(f"{name} is {shown(given)}: give a function, or leave it out")


def expect_params(params: Any, model: Model) -> Params:
    """Return the value if it is parameters of the model, whose `init` is traced.

    The auxiliary parameters are those of an estimator, and are not compared.

    Raises:
        VaejaxError: a training state, or another type; arrays that are freed, or of
            other names or shapes than the model's.
    """
    if hasattr(params, "params") and hasattr(params, "opt_state"):
        raise VaejaxError(
            "params must be a Params, and is the state of a training: give its "
            "parameters, as in state.params"
        )
    given = expect(Params, "params", params)._replace(auxiliary=())
    averages = model.extras.averages
    remedy = "parameters of this model, shaped as those of model.init"
    if averages and getattr(params, averages.group) == ():
        remedy = "vaejax.whole_params of the trained ones and the state's averages"
    asked = jax.eval_shape(model.init, jax.random.key(0))._replace(auxiliary=())
    expect_shapes("params", given, asked, f"the model {model.name}", remedy)
    expect_kept("params", params)
    return params


def expect_shapes(name: str, given: Any, asked: Any, where: str, remedy: str) -> None:
    """Refuse a tree whose leaves have other paths or shapes than those of `asked`.

    Raises:
        VaejaxError: naming the first leaf that differs, and both shapes.
    """
    found, expected = _shapes(given), _shapes(asked)
    for path in [*expected, *found]:
        if found.get(path) != expected.get(path):
            theirs, own = (
                f"is of shape {shapes[path]}" if path in shapes else "is absent"
                for shapes in (found, expected)
            )
            raise VaejaxError(
                f"{name}{path} {theirs}, and in {where} it {own}: give {remedy}"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}


def expect_kept(name: str, tree: Any) -> None:
    """Refuse a tree of arrays, one of which was donated to a compiled function.

    Raises:
        VaejaxError: saying what to give instead.
    """
    arrays = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
    ]
    if any(array.is_deleted() for array in arrays):
        raise VaejaxError(
            f"the arrays of {name} are freed, since `fit` or a step took over their "
            "state: give what that call returned, or let it take a copy, as of "
            "jax.tree.map(jnp.copy, state)"
        )


def expect_key(key: Any) -> Key:
    """Return the value if it is a random key.

    Raises:
        VaejaxError: an integer, an array of keys, or another type.
    """
    if isinstance(key, int):
        raise VaejaxError(
            f"key is the integer {key}: give a key, as in jax.random.key({key})"
        )
    if not isinstance(key, jax.Array):
        raise VaejaxError(
            f"key is {_with_article(type(key))}: give a key, as in jax.random.key(0)"
        )
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        is_one = key.ndim == 0
    else:  # a key of `jax.random.PRNGKey`
        is_one = key.ndim == 1 and key.dtype == jnp.uint32
    if not is_one:
        raise VaejaxError(
            f"key is an array of {key.dtype} of shape {key.shape}: give one key, as in "
            "jax.random.key(0)"
        )
    return key


def expect_count(name: str, given: Any, least: int = 1) -> int:
    """Return a count as an `int`.

    Raises:
        VaejaxError: see `no_count`.
    """
    if reason := no_count(name, given, least):
        raise VaejaxError(reason)
    return int(given)


def no_count(name: str, given: Any, least: int = 1) -> str | None:
    """The sentence about a value that is no integer from `least` to 2^31 - 1."""
    expected = mismatch(Annotated[int, Range(least, 2**31 - 1)], given)
    return expected and f"{name} is {shown(given)}: give {expected}"


def expect_distinct_counts(name: str, given: Any) -> tuple[int, ...]:
    """Return one or several counts, of a sequence or an array, as a tuple of `int`.

    Raises:
        VaejaxError: none, one that is no integer of at least 1, or one given twice.
    """
    listed = given.tolist() if hasattr(given, "tolist") else given
    counts = tuple(listed) if isinstance(listed, Iterable) else (listed,)
    if not counts or any(no_count(name, count) for count in counts):
        raise VaejaxError(f"{name} is {shown(given)}: use integers of at least 1")
    if len(set(counts)) < len(counts):
        raise VaejaxError(f"{name} is {shown(given)}: name each one once")
    return tuple(map(int, counts))


def expect_counts(least: int = 1, /, **counts: Any) -> None:
    """Refuse a named count that is no integer from `least` to 2^31 - 1, but not None.

    Raises:
        VaejaxError: naming the count, its value and its range.
    """
    for name, given in counts.items():
        if given is not None and (reason := no_count(name, given, least)):
            raise VaejaxError(reason)


def expect_example(name: str, examples: Any) -> Example:
    """Return an `Example`, or the example of a `Batch`.

    Raises:
        VaejaxError: a bare array, or another type.
    """
    if isinstance(examples, Batch):
        return examples.example
    if isinstance(examples, Example):
        return examples
    if hasattr(examples, "observations"):
        raise VaejaxError(
            f"{name} is {_with_article(type(examples))}: give its observations, as in "
            f"vaejax.Example({name}.observations())"
        )
    if hasattr(examples, "shape"):
        raise VaejaxError(
            f"{name} is an array of shape {tuple(examples.shape)}: wrap it, as in "
            f"vaejax.Example({name})"
        )
    raise VaejaxError(
        f"{name} is {_with_article(type(examples))}: give a vaejax.Example, its leaves "
        "of shape [N, ...]"
    )


def _made_of_its_fields(kind: type) -> str:
    fields = settings_of(kind).values()
    asked = [f"{field.name}=..." for field in fields if field.default is field.empty]
    return f"{kind.__name__}({', '.join(asked)})"


def _with_article(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
