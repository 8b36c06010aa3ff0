"""The random bits of JAX, drawn on CPUs in one pass over memory.

`jax.random` draws by Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw 2011,
"Parallel random numbers: as easy as 1, 2, 3"). XLA's CPU backend runs the rounds as a
loop of five passes over the memory of both words. Here the rounds are written out as
elementwise operations, which XLA compiles into a single pass:

    bits[i] = high ^ low, where (high, low) = threefry_2x32(key, (0, i))

Bits, splits and folds are those of `jax.random`, bit for bit, so that no result depends
on the choice.
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt, UInt32

from vaejax.core.errors import unknown

GENERATORS = ("one_pass", "jax")

Words = tuple[UInt32[Array, "..."], UInt32[Array, "..."]]

_chosen = ContextVar("generator", default="one_pass")

_JAX = "threefry2x32"  # the name of JAX's default generator
_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)


@contextlib.contextmanager
def generator(name: str) -> Iterator[None]:
    """A context in which examples draw their bits in one pass, or as `jax.random` does.

    A program that is traced already keeps its choice.

    Raises:
        VaejaxError: an unknown name.
    """
    if name not in GENERATORS:
        raise unknown("prng", name, GENERATORS)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def one_pass(key: Key[Array, "..."]) -> Key[Array, "..."]:
    """`key`, whose bits are drawn in one pass on a CPU; they are the same bits.

    Other backends have kernels of the cipher. A key of another generator than JAX's
    default is left as it is.
    """
    if (
        _chosen.get() == "jax"
        or jax.default_backend() != "cpu"
        or str(jax.random.key_impl(key)) != _JAX
        or not jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    ):
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_ONE_PASS)


def threefry_2x32(key: UInt32[Array, "2"], counter: Words) -> Words:
    """The two words that Threefry-2x32-20 enciphers each counter to."""
    first, second = key[0], key[1]
    schedule = first, second, first ^ second ^ _PARITY
    high, low = counter[0] + first, counter[1] + second
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            high = high + low
            low = (low << rotation) | (low >> (32 - rotation))
            low = low ^ high
        high = high + schedule[(block + 1) % 3]
        low = low + schedule[(block + 2) % 3] + np.uint32(block + 1)
    return high, low


def _written_out(
    key: UInt32[Array, "2"], shape: tuple[int, ...]
) -> UInt32[Array, "..."]:
    def draw(_: Array) -> Array:
        position = jnp.zeros(shape, jnp.uint32)
        stride = 1
        for axis in reversed(range(len(shape))):
            along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
            position += along * np.uint32(stride)
            stride *= shape[axis]
        high, low = threefry_2x32(key, (jnp.zeros_like(position), position))
        return high ^ low

    def body(turn: Array, bits: Array) -> Array:
        return jax.lax.cond(turn == 0, draw, lambda bits: bits, bits)

    # XLA would fuse the rounds into each operation that uses the bits, and draw them
    # again in each. It does not fuse across a loop, and it would undo a loop of one
    # turn: this loop draws in its first turn and rests in its second.
    return jax.lax.fori_loop(0, 2, body, jnp.zeros(shape, jnp.uint32))


def _own(key: UInt32[Array, "2"]) -> Key[Array, "..."]:
    return jax.random.wrap_key_data(key, impl=_JAX)


def _random_bits(
    key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]
) -> UInt[Array, "..."]:
    # 64 bits need both words, and larger draws need counters of two words.
    if width == 64 or math.prod(shape) > 2**32:
        return jax.random.bits(_own(key), shape, f"uint{width}")
    return _written_out(key, shape).astype(f"uint{width}")


def _seed(seed: Array) -> UInt32[Array, "2"]:
    return jax.random.key_data(jax.random.key(seed, impl=_JAX))


def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "... 2"]:
    return jax.random.key_data(jax.random.split(_own(key), shape))


def _fold_in(key: UInt32[Array, "2"], data: Any) -> UInt32[Array, "2"]:
    return jax.random.key_data(jax.random.fold_in(_own(key), data))


_ONE_PASS = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_one_pass",
    tag="fry1",
)
