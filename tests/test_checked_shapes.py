"""The shapes in signatures are checked in tests, in functions inside functions too."""

from collections.abc import Callable

import jax.numpy as jnp
import pytest
from beartype import beartype
from checked_shapes import jaxtyped_once
from jaxtyping import Array, Float, TypeCheckError

from vaejax.bounds import iwae, renyi


def test_a_wrong_shape_is_refused_at_every_call():
    for bound in (iwae(), iwae()):  # whose functions have the same code
        assert bound.aggregate(jnp.zeros(3)) == 0
        with pytest.raises(TypeCheckError, match="parameter 'log_w'"):
            bound.aggregate(jnp.zeros((3, 1)))


def test_a_wrong_result_is_refused():
    def ones(size: int) -> Callable:
        @jaxtyped_once(typechecker=beartype)
        def fill(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
            return jnp.ones(size)

        return fill

    assert ones(3)(jnp.zeros(3)).sum() == 3
    with pytest.raises(TypeCheckError, match=r"return value of .*fill"):
        ones(2)(jnp.zeros(3))


def test_functions_of_the_same_code_keep_what_they_enclose():
    log_w = jnp.array([0.0, 3.0])
    low, high = (renyi(alpha).aggregate(log_w) for alpha in (0.9, 0.1))
    assert low < high - 0.1
