"""Networks: plain functions over plain dicts, and a quick import."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vaejax.bounds import elbo, iwae
from vaejax.core import Batch, Example, LossState, UnknownNameError, VaejaxError
from vaejax.estimators import dreg, pathwise
from vaejax.models import gaussian_conv
from vaejax.nets import ACTIVATIONS, conv_decoder, conv_encoder, mlp
from vaejax.nets.convolutional import _Doubling, _Halving
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("kind", ["halving", "doubling"])
def test_convolutions_keep_the_scale_of_what_they_pass_on(kind):
    """The mean square of rectified inputs through three layers, away from edges."""
    width, act = 32, jax.nn.relu
    side, gain, edge = {"halving": (48, 1, 2), "doubling": (6, 2, 8)}[kind]
    x = act(jax.random.normal(KEY, (side, side, width)))
    rngs = nnx.Rngs(0)
    scales = []
    for _ in range(40):
        if kind == "halving":
            layers = _Halving(width, [width] * 3, act, 0, rngs)
        else:  # the last of which is not rectified, which would take half
            layers = _Doubling([width] * 3, width, act, 0, None, rngs)
        inside = layers(x)[edge:-edge, edge:-edge]
        scales.append(jnp.square(inside).mean() / jnp.square(x).mean() / gain)
    error = np.std(scales) / np.sqrt(len(scales))
    assert abs(np.mean(scales) - 1) < 4 * error
    assert np.mean(scales) - 1 / 4 > 4 * error  # of one layer whose kernel is too small


RESIDUAL = {
    "encoder": lambda blocks, act: conv_encoder((7, 5, 2), (3, 4), 6, act, blocks),
    "decoder": lambda blocks, act: conv_decoder(
        3, (4, 2), (7, 5, 2), act, blocks=blocks
    ),
}
INPUT = {"encoder": (7, 5, 2), "decoder": (3,)}


def gains_at(params, value):
    """The parameters with every residual branch scaled by this."""

    def moved(path, leaf):
        return leaf + value if "gains" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(moved, params)


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_residual_network_starts_as_its_skip_path(name):
    plain, residual = (RESIDUAL[name](blocks, "tanh") for blocks in (0, 2))
    x = jax.random.normal(KEY, INPUT[name])

    @jax.jit
    def outputs(params):
        skip = {
            key: {inner: of for inner, of in own.items() if inner != "stages"}
            for key, own in params.items()
        }
        return residual.apply(params, x), plain.apply(skip, x)

    params = jax.jit(residual.init)(KEY)
    np.testing.assert_array_equal(*outputs(params))
    moved, skip = outputs(gains_at(params, 0.1))
    assert np.abs(moved - skip).max() > 1e-3


def test_a_residual_block_is_two_activated_convolutions_beside_its_input():
    network = conv_encoder((2, 2, 1), (1,), 1, "relu", blocks=1)
    params, apply = jax.jit(network.init)(KEY), jax.jit(network.apply)
    # On one pixel a 3x3 convolution is its kernel's centre, the rest is padding.
    stage = params["halving"]["stages"][0]
    first, second = stage["blocks"][0].values()
    for conv, weight, bias in ((first, 2.0, 1.0), (second, -3.0, 0.5)):
        conv["kernel"] = jnp.full((3, 3, 1, 1), 7.0).at[1, 1].set(weight)
        conv["bias"] = jnp.full(1, bias)
    stage["gains"][0] = jnp.array(0.5)
    only_bias = {"kernel": jnp.zeros((4, 4, 1, 1)), "bias": jnp.array([4.0])}
    params["halving"]["convs"][0] = only_bias
    params["head"] = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    # 4 + (-3 relu(2 relu(4) + 1) + 0.5) / 2 = -9.25, and relu'(4 - 13.25) = 0.
    np.testing.assert_allclose(apply(params, jnp.ones((2, 2, 1))), [0.0])
    second["kernel"] *= -1
    found = apply(params, jnp.ones((2, 2, 1)))
    np.testing.assert_allclose(found, [4 + (3 * 9 + 0.5) / 2])


@pytest.mark.parametrize("shape", [(28, 28, 1), (31, 17, 3), (5, 1, 2)])
def test_a_residual_model_fits_images_of_any_size(shape):
    model = gaussian_conv(shape, latent_dim=2, channels=(2, 3), blocks=1)

    def both_ways(key):
        params = model.init(key)
        q = model.encode(params, Example(jnp.zeros(shape)))
        return q, model.decode(params, model.posterior.sample(key, q), None)

    q, p = jax.eval_shape(both_ways, KEY)
    assert {leaf.shape for leaf in jax.tree.leaves(q)} == {(2,)}
    assert {leaf.shape for leaf in jax.tree.leaves(p)} == {shape}


def test_gradients_of_either_bound_reach_every_block_and_compile_once():
    shape = (7, 5, 3)
    model = gaussian_conv(shape, latent_dim=2, channels=(2, 3), blocks=2)
    x = jax.random.bernoulli(KEY, 0.3, (4, *shape)).astype(jnp.float32)
    batch = Batch(Example(x), jnp.arange(4))
    vae = make_objective(model, elbo(), pathwise(), num_samples=1)
    many = make_objective(model, iwae(), dreg(), num_samples=3)

    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def gradients(params, key):
        return [
            jax.grad(of.loss, has_aux=True)(params, LossState(), key, batch)[0]
            for of in (vae, many)
        ]

    params, _ = jax.jit(vae.init)(KEY)
    for gradient in gradients(params, KEY):
        gains = [
            leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
            if "gains" in jax.tree_util.keystr(path)
        ]
        assert len(gains) == 2 * 2 * 2  # encoder and decoder, stages, blocks
        assert all(gain != 0 for gain in gains), "at the start a block learns its gain"
    for gradient in gradients(gains_at(params, 0.1), jax.random.key(1)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            assert np.any(leaf != 0), f"none reaches {jax.tree_util.keystr(path)}"
    if jax.default_backend() == "cpu":  # where XLA's own are slow in a loop
        assert "conv_general_dilated" not in str(jax.make_jaxpr(gradients)(params, KEY))


def test_residual_blocks_are_not_fewer_than_none():
    with pytest.raises(VaejaxError, match="blocks=-1 must be an integer from 0"):
        gaussian_conv(blocks=-1)


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
    heavy = {"distrax", "matplotlib", "orbax", "scipy.optimize", "scipy.stats"}
    heavy |= {"sklearn", "tensorflow_datasets"}
    assert not heavy & set(modules)
    assert min(seconds) < 2
