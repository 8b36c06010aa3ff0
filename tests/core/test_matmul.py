"""The product under vmap and differentiation, against `@`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import MODELS, Example, VaejaxError
from vaejax.ops.matmul import matmul_precision, vector_times_matrix
from vaejax.terms import log_terms

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


def log_weights_and_gradient(precision):
    """Values of a model at its initial parameters, ten images, five samples."""
    model = MODELS["gaussian_mlp"](data_shape=(6, 6, 1), latent_dim=3, hidden=(20,))
    params = model.init(KEYS[0])
    x = jax.random.bernoulli(KEYS[1], 0.3, (10, 6, 6, 1)).astype(jnp.float32)

    def mean(params):
        def one(key, x):
            example = Example(x)
            dist_params = model.encode(params, example)
            keys = jax.random.split(key, 5)
            z = jax.vmap(model.posterior.sample, (0, None))(keys, dist_params)
            terms = log_terms(model, params, dist_params, z, example)
            return terms.log_px_z + terms.log_pz - terms.log_qz

        log_w = jax.vmap(one)(jax.random.split(KEYS[0], 10), x)
        return log_w.mean(), log_w

    with matmul_precision(precision):
        gradient, log_w = jax.jit(jax.grad(mean, has_aux=True))(params)
    return log_w, jax.flatten_util.ravel_pytree(gradient)[0]


def test_bfloat16_costs_the_digits_that_it_has_not():
    """8 bits have an error of 2^-9 an operand; the log-weights are still float32."""
    (log_w, gradient), (exact, exact_gradient) = (
        log_weights_and_gradient(name) for name in ("bfloat16", "default")
    )
    assert log_w.dtype == gradient.dtype == jnp.float32
    error = np.abs(log_w - exact).max() / np.abs(exact).mean()
    assert 1e-5 < error < 1e-2
    error = np.linalg.norm(gradient - exact_gradient) / np.linalg.norm(exact_gradient)
    assert 1e-4 < error < 2e-2
    np.testing.assert_array_equal(exact, log_weights_and_gradient("float32")[0])


def test_a_precision_that_cannot_be_is_refused():
    with pytest.raises(VaejaxError, match=r"this is a CPU.*use bfloat16"):
        matmul_precision("tensorfloat32")
    with pytest.raises(VaejaxError, match=r"unknown matmul_precision 'half'.*bfloat16"):
        matmul_precision("half")
