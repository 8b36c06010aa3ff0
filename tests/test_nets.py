"""Networks: plain functions over plain dicts, and a quick import."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core import UnknownNameError
from vaejax.nets import ACTIVATIONS, conv_decoder, conv_encoder, mlp

KEY = jax.random.key(0)

NETWORKS = {
    "mlp": (mlp(6, (5, 4), 3), (2, 3), (3,)),
    "conv_encoder": (conv_encoder((7, 5, 2), (3, 4), 6), (7, 5, 2), (6,)),
    "conv_decoder": (conv_decoder(3, (4, 2), (7, 5, 2)), (3,), (7, 5, 2)),
}


def containers(tree):
    yield tree
    for child in tree.values() if isinstance(tree, dict) else ():
        yield from containers(child)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_pure_functions_over_plain_dicts(name):
    network, in_shape, out_shape = NETWORKS[name]
    params = network.init(KEY)
    assert {type(part) for part in containers(params)} == {dict, type(jnp.zeros(()))}
    x = jax.random.normal(KEY, (4, *in_shape))

    def total(params):
        outputs = jax.vmap(network.apply, in_axes=(None, 0))(params, x)
        assert outputs.shape == (4, *out_shape)
        return (outputs**2).sum()

    gradient = jax.jit(jax.grad(total))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mlp_is_what_numpy_computes(activation):
    bias = jnp.array([0.5, -1.0, 2.0])
    network = mlp(6, (5, 4), 3, activation, out_bias=bias)
    params = network.init(KEY)
    act = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[activation]
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    h = x.reshape(6)
    for i in range(3):
        layer = params["layers"][i]
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        h = act(h) if i < 2 else h
    np.testing.assert_allclose(network.apply(params, jnp.asarray(x)), h, rtol=1e-5)
    assert np.array_equal(params["layers"][2]["bias"], bias)
    assert not np.any(params["layers"][0]["bias"])


def test_an_unknown_activation_lists_the_known():
    with pytest.raises(UnknownNameError, match="unknown activation 'swiss'") as caught:
        mlp(2, (3,), 1, "swiss")
    assert all(name in str(caught.value) for name in ACTIVATIONS)


def test_importing_vaejax_is_quick_and_leaves_out_what_is_heavy():
    # CPU time, since a busy machine says nothing about the import; best of two.
    code = (
        "import resource, sys, vaejax;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, *sys.modules)"
    )
    seconds = []
    for _ in range(2):
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        time, *modules = run.stdout.split()
        seconds.append(float(time))
    heavy = {"distrax", "matplotlib", "orbax", "sklearn", "tensorflow_datasets"}
    assert not heavy & set(modules)
    assert min(seconds) < 2
