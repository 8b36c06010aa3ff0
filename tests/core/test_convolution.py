"""Convolutions by matrix products are those of XLA, as are their derivatives."""

import chex
import jax
import jax.numpy as jnp
import pytest

from vaejax.ops.convolution import DIMENSIONS, convolve, convolve_transposed

CASES = [(8, 6, 2, 4), (7, 9, 2, 4), (6, 5, 1, 3), (9, 9, 2, 5), (5, 4, 3, 3)]


def xla_convolve(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x[None], kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS
    )[0]


def xla_convolve_transposed(x, kernel, stride):
    return jax.lax.conv_transpose(
        x[None], kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS
    )[0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(convolve, xla_convolve), (convolve_transposed, xla_convolve_transposed)],
)
def test_values_and_derivatives_are_xlas(case, ours, theirs):
    height, width, stride, size = case
    with jax.enable_x64(True):
        x_key, kernel_key = jax.random.split(jax.random.key(0))
        x = jax.random.normal(x_key, (3, height, width, 2), jnp.float64)
        kernel = jax.random.normal(kernel_key, (size, size, 2, 4), jnp.float64)

        def found(convolution):
            def squares(x, kernel):
                y = jax.vmap(convolution, (0, None, None))(x, kernel, stride)
                return jnp.square(y).sum(), y

            of_both = jax.grad(squares, argnums=(0, 1), has_aux=True)
            return jax.jit(of_both)(x, kernel)

        chex.assert_trees_all_close(found(ours), found(theirs), atol=1e-9)
