"""Random numbers in one pass are those of `jax.random`, and are drawn once."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core import VaejaxError, fold_examples
from vaejax.ops.random import generator, one_pass, threefry_2x32

KEY = jax.random.key(0x0123456789ABCDEF & 0x7FFFFFFF)
SHAPES = (), (1,), (3,), (2, 0, 3), (4, 5, 7), (1001,)


def test_the_cipher_is_that_of_jax() -> None:
    rng = np.random.default_rng(0)
    key, *counter = jnp.asarray(rng.integers(0, 2**32, (3, 1000), dtype=np.uint32))
    expected = jax.extend.random.threefry_2x32(key[:2], jnp.concatenate(counter))
    got = threefry_2x32(key[:2], tuple(counter))
    np.testing.assert_array_equal(jnp.concatenate(got), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [8, 16, 32])
def test_the_bits_are_those_of_jax(width: int, shape: tuple[int, ...]) -> None:
    got = jax.random.bits(one_pass(KEY), shape, f"uint{width}")
    np.testing.assert_array_equal(got, jax.random.bits(KEY, shape, f"uint{width}"))


def test_bits_of_64_are_those_of_jax() -> None:
    with jax.enable_x64(True):
        got = jax.random.bits(one_pass(KEY), (5,), "uint64")
        np.testing.assert_array_equal(got, jax.random.bits(KEY, (5,), "uint64"))


def test_splits_folds_and_draws_of_a_batch_are_those_of_jax() -> None:
    def draw(key: jax.Array) -> jax.Array:
        first, second = jax.random.split(jax.random.fold_in(key, 7))
        fair = jax.random.bernoulli(second, shape=(4, 5))
        return jax.random.normal(first, (4, 5)) * fair

    keys = jax.random.split(KEY, 6)
    got = jax.jit(jax.vmap(draw))(one_pass(keys))
    np.testing.assert_array_equal(got, jax.jit(jax.vmap(draw))(keys))


def test_the_bits_are_drawn_once_for_all_that_use_them() -> None:
    """Without the loop, XLA repeats the cipher in each of three uses."""

    def uses(bits: jax.Array) -> tuple[jax.Array, ...]:
        x = (bits < np.uint32(2**31)).astype(jnp.float32)
        return x @ jnp.ones((200, 3)), jnp.cos(x).sum(), x * 2

    def written_out(data: jax.Array) -> tuple[jax.Array, ...]:
        counter = jnp.arange(10_000, dtype=jnp.uint32)
        high, low = threefry_2x32(data, (jnp.zeros_like(counter), counter))
        return uses((high ^ low).reshape(50, 200))

    def in_one_pass(data: jax.Array) -> tuple[jax.Array, ...]:
        key = one_pass(jax.random.wrap_key_data(data))
        return uses(jax.random.bits(key, (50, 200)))

    def ciphers(draw) -> float:
        text = jax.jit(draw).lower(jax.random.key_data(KEY)).compile().as_text()
        return text.count(" xor(") / (20 + 3)  # a round has one, and the key two

    assert ciphers(in_one_pass) < 1.2
    assert ciphers(written_out) > 2.5


def test_another_generator_is_left_as_it_is() -> None:
    other = jax.random.key(0, impl="rbg")
    assert one_pass(other) is other
    with generator("jax"):
        assert one_pass(KEY) is KEY
    assert one_pass(KEY) is not KEY


def test_an_unknown_generator_is_refused() -> None:
    with pytest.raises(VaejaxError, match=r"unknown prng 'pcg'.*one_pass"):
        generator("pcg").__enter__()


def _correlations(streams: np.ndarray) -> np.ndarray:
    """The z-scores of the correlations between the rows of uniform numbers."""
    standard = (streams - 0.5) * np.sqrt(12)
    number, length = streams.shape
    return (standard @ standard.T / np.sqrt(length))[np.triu_indices(number, 1)]


def test_streams_of_examples_steps_and_seeds_are_not_correlated() -> None:
    """3 seeds, 4 steps, 16 examples: 18,336 correlations of 4,000 numbers each."""

    def stream(key: jax.Array) -> jax.Array:
        return jax.random.uniform(one_pass(key), (4000,))

    keys = [
        fold_examples(jax.random.fold_in(jax.random.key(seed), step), jnp.arange(16))
        for seed in range(3)
        for step in range(4)
    ]
    streams = np.asarray(jax.jit(jax.vmap(stream))(jnp.concatenate(keys)))
    z = _correlations(streams)
    assert np.abs(z).max() < 5.5  # 7e-4 for 18,336 of them
    spread = ((z**2).sum() - len(z)) / np.sqrt(2 * len(z))
    assert abs(spread) < 4
    again = np.concatenate([streams[:5], streams[2:3]])  # a stream that is used twice
    assert np.abs(_correlations(again)).max() > 50
