"""The product under vmap and differentiation, against `@`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.matmul import vector_times_matrix

KEYS = jax.random.split(jax.random.key(0), 2)
X = jax.random.normal(KEYS[0], (2, 3, 5))
WEIGHT = jax.random.normal(KEYS[1], (5, 4))


def total(product, x, weight):
    def one(x):
        return jnp.tanh(product(x, weight)).sum()

    return jax.vmap(jax.vmap(one))(x).sum()


@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd, jax.hessian])
def test_derivatives_under_two_vmaps(argument, derivative):
    ours, theirs = (
        derivative(lambda *a, p=product: total(p, *a), argument)(X, WEIGHT)
        for product in (vector_times_matrix, jnp.matmul)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_batch_of_matrices():
    """Several seeds in one program: every one has a matrix, or x is shared by all."""
    weights = jnp.stack([WEIGHT, 2 * WEIGHT])
    for x, axes in ((X[0, 0], (None, 0)), (X[:, 0], (0, 0)), (X[:, 0].T, (1, 0))):
        np.testing.assert_allclose(
            jax.vmap(vector_times_matrix, axes)(x, weights),
            jax.vmap(jnp.matmul, axes)(x, weights),
            rtol=1e-5,
        )


def test_the_gradient_contracts_one_axis():
    """Two batch axes would make XLA transpose the cotangent in memory first."""
    gradient = jax.grad(lambda w: total(vector_times_matrix, X, w))
    jaxpr = str(jax.make_jaxpr(gradient)(WEIGHT))
    assert "vector_times_matrix" in jaxpr
    lowered = jax.jit(gradient).lower(WEIGHT).as_text()
    assert "contracting_dims = [0, 1]" not in lowered
    batched = jax.grad(lambda w: total(jnp.matmul, X, w))
    assert "contracting_dims = [0, 1]" in jax.jit(batched).lower(WEIGHT).as_text()
