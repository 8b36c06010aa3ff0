"""Flows against their own Jacobians: determinants, inverses, derivatives, mass.

A family without a twin in scipy is held to what defines it. Its estimators are under
the contract tests, by `planar_flow`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vaejax.bounds import iwae
from vaejax.core import Family, IncompatibleError, VaejaxError, build
from vaejax.estimators import dreg, pathwise
from vaejax.families import FAMILIES, diagonal_normal
from vaejax.families.flows.flow import Layers, flow
from vaejax.families.flows.tanh_root import tanh_root
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

DIM = 3
# An odd depth, and an odd number of coordinates: halves and reversals do not cancel.
SMALL: dict[str, dict[str, Any]] = {"dim": DIM, "depth": 3}
CASES: dict[str, dict[str, Any]] = {
    "planar_flow": {},
    "radial_flow": {},
    "householder_flow": {},
    "sylvester_flow": {"width": 2},
    "sylvester_flow, triangular": {"basis": "triangular"},
    "iaf": {"hidden": (5, 4)},
    "coupling_flow": {"hidden": (4,)},
    "spline_flow": {"hidden": (4,), "bins": 3},
}
jitted_root = jax.jit(tanh_root)
every_flow = pytest.mark.parametrize("name", CASES)


@functools.cache  # programs are compiled for a family
def family_of(name: str, **own: Any) -> Family:
    return build(FAMILIES, name.split(",")[0], **SMALL | CASES[name] | own)


def test_every_flow_has_a_case():
    flows = {
        name
        for name, family in FAMILIES.items()
        if family().own_samples.sample_and_log_prob
    }
    assert {name.split(",")[0] for name in CASES} == flows


def stretching(sign: float) -> Family:
    """Coordinates times 2, 3 and 1/2: a layer of one's own, right for the sign 1."""
    scales = jnp.array([[2.0, 3.0, 0.5]])

    def log_det(scale):
        return sign * jnp.log(scale).sum()

    layers = Layers(
        depth=1,
        outputs_per_coordinate=0,
        read=lambda outputs, weights: scales.astype(outputs.dtype),
        forward=lambda scale, z: (scale * z, log_det(scale)),
        inverse=lambda scale, z: (z / scale, log_det(scale)),
    )
    return flow("stretching", DIM, layers)


@functools.cache
def weights_of(family: Family) -> Any:
    """The initial weights of the family, or ()."""
    if family.head.weights is None:
        return ()
    with jax.enable_x64(False):  # the same whoever asks first
        return jax.device_get(jax.jit(family.head.weights)(jax.random.key(0)))


def arguments_of(family: Family, seed: int, scale: float) -> tuple[Any, Any]:
    """A network's outputs and the family's weights, so far from where they start."""
    draw = np.random.default_rng(seed).standard_normal
    outputs = scale * draw((family.head.outputs_per_coordinate, DIM))
    # The normal's own stay of order 1: their size is not under test here.
    outputs[:2] /= max(1.0, 2 * scale)
    own = jax.tree.map(lambda leaf: leaf + scale * draw(leaf.shape), weights_of(family))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (outputs, own))


@functools.cache
def program(family: Family):
    """All that is looked at, compiled once: of a draw, and of the density at `z`."""
    base = diagonal_normal()

    def draw(arguments, key):
        z, log_q = family.own_samples.sample_and_log_prob(
            key, family.head.read(*arguments)
        )
        return z @ jnp.arange(1.0, DIM + 1) + log_q, (z, log_q)

    def density(arguments, z):
        return family.log_prob(family.head.read(*arguments), z)

    @jax.jit
    def run(arguments, key, z):
        params = family.head.read(*arguments)

        def moved(loc):  # z_0 moves by as much as its location
            shifted = params._replace(base=params.base._replace(loc=loc))
            return family.sample(key, shifted)

        (along, (drawn, log_q)), by_draw = jax.value_and_grad(draw, has_aux=True)(
            arguments, key
        )
        at, by_density = jax.value_and_grad(density, (0, 1))(arguments, z)
        start = base.sample(key, params.base)
        return {
            "drawn": drawn,
            "log_q": log_q,
            "log_base": base.log_prob(params.base, start),
            "jacobian": jax.jacfwd(moved)(params.base.loc),
            "log_prob of drawn": family.log_prob(params, drawn),
            "again": family.couplings.retrace(params, drawn),
            "along": along,
            "by_draw": by_draw,
            "at": at,
            "by_density": by_density,
        }

    return run


def run(family: Family, seed: int, scale: float) -> tuple[Any, dict[str, Any]]:
    arguments = arguments_of(family, seed, scale)
    z = jnp.asarray(2 * np.random.default_rng(seed + 1).standard_normal(DIM))
    inputs = arguments, jax.random.key(seed), z
    return inputs, jax.device_get(program(family)(*inputs))


def check_a_draw(family: Family, seed: int, scale: float) -> None:
    """Log q is that of the Jacobian, the inverse comes back, and log_prob agrees."""
    _, found = run(family, seed, scale)
    sign, log_det = np.linalg.slogdet(found["jacobian"])
    assert abs(sign) == 1, "not invertible"
    # A layer may contract a thousandfold, and so lose 3 of 15 digits on the way back.
    loose = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(found["log_q"], found["log_base"] - log_det, **loose)
    # The way back loses as many digits as the flow contracts along its narrowest way.
    narrowest = np.linalg.svd(found["jacobian"], compute_uv=False)[-1]
    loose["atol"] = max(loose["atol"], 1e-14 / narrowest)
    np.testing.assert_allclose(found["log_prob of drawn"], found["log_q"], **loose)
    np.testing.assert_allclose(found["again"], found["drawn"], **loose)


@every_flow
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), scale=st.floats(0, 3))
@example(seed=0, scale=0.0)
def test_log_q_is_that_of_the_jacobian_and_of_the_inverse(name, seed, scale):
    with jax.enable_x64(True):
        check_a_draw(family_of(name), seed, scale)


def test_a_layer_of_ones_own_passes_and_with_the_wrong_sign_fails():
    with jax.enable_x64(True):
        check_a_draw(stretching(1), 0, 1.0)
        with pytest.raises(AssertionError, match="Mismatched"):
            check_a_draw(stretching(-1), 0, 1.0)


@every_flow
def test_gradients_are_those_of_finite_differences(name):
    family, step = family_of(name), 1e-6
    with jax.enable_x64(True):
        (arguments, key, z), found = run(family, 3, 0.6)
        leaves, structure = jax.tree.flatten((arguments, z))
        rng = np.random.default_rng(9)
        direction = [rng.standard_normal(leaf.shape) for leaf in leaves]

        def there(step):
            moved = [a + step * b for a, b in zip(leaves, direction, strict=True)]
            moved, moved_z = jax.tree.unflatten(structure, moved)
            return jax.device_get(program(family)(moved, key, moved_z))

        above, below = there(step), there(-step)
    direction = jax.tree.unflatten(structure, direction)
    for value, slopes, moves in (
        ("along", found["by_draw"], direction[0]),
        ("at", found["by_density"], direction),
    ):
        slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, slopes, moves)))
        truth = (above[value] - below[value]) / (2 * step)
        np.testing.assert_allclose(slope, truth, rtol=1e-6, err_msg=value)


@every_flow
def test_it_starts_as_the_standard_normal_and_at_no_saddle(name):
    """The outputs of the network are zero, as those of a learned prior are at first."""
    family = family_of(name, depth=4)
    with jax.enable_x64(True):
        _, own = arguments_of(family, 0, 0.0)
        outputs = jnp.zeros((family.head.outputs_per_coordinate, DIM))
        z = jnp.array([0.4, -1.1, 0.7])

        @jax.jit
        @jax.value_and_grad
        def log_prob(arguments):
            return family.log_prob(family.head.read(*arguments), z)

        value, _ = log_prob((outputs, own))
        # Turns are seen by a normal of unequal scales alone.
        unequal = outputs.at[1].set(jnp.array([0.3, -0.2, 0.1]))
        _, slopes = log_prob((unequal, own))
        mean = jax.jit(family.head.to_outputs)(z)
        again = jax.jit(family.mean)(family.head.read(mean, own))
    normal = scipy.stats.norm.logpdf(np.asarray(z)).sum()
    np.testing.assert_allclose(value, normal, rtol=1e-12)
    np.testing.assert_allclose(again, z, rtol=1e-12)
    if family.head.weights is None:
        slopes = slopes[0].reshape(-1)[2 * DIM :]
        size = len(slopes) // 4
        parts = [slopes[i * size : (i + 1) * size] for i in range(4)]
    else:  # the last layers of the networks
        parts = [*slopes[1][-1]["kernel"], *slopes[1][-1]["bias"]]
    assert all(np.abs(part).max() > 1e-3 for part in parts)


@pytest.mark.parametrize("name", [*CASES, "stretching"])
def test_the_density_integrates_to_one(name):
    """Importance weights of a wide normal, whose mean is the mass."""
    family = stretching(1) if name == "stretching" else family_of(name)
    draws, width = 20_000, 3.0
    noise = np.random.default_rng(0).standard_normal((draws, DIM))
    log_p = scipy.stats.norm.logpdf(noise).sum(1) - DIM * np.log(width)
    arguments = arguments_of(family, 4, 0.2)
    log_prob = jax.jit(jax.vmap(family.log_prob, (None, 0)))

    def z_score(family_log_q):
        weights = np.exp(np.asarray(family_log_q, float) - log_p)
        return abs(weights.mean() - 1) / (weights.std() / np.sqrt(draws))

    log_q = log_prob(
        family.head.read(*arguments), jnp.asarray(width * noise, jnp.float32)
    )
    assert z_score(log_q) < 4.5  # 9 tests: 6e-5 that one fails by chance
    if name == "stretching":
        wrong = jax.jit(jax.vmap(stretching(-1).log_prob, (None, 0)))
        params = family.head.read(*arguments)
        log_q = wrong(params, jnp.asarray(width * noise, jnp.float32))
        assert z_score(log_q) > 20


# Extremes.


def pathwise_gradient(family: Family):
    """The density at a draw and at a given point, compiled once."""

    @jax.jit
    @jax.value_and_grad
    def total(arguments, key):
        params = family.head.read(*arguments)
        z, log_q = family.own_samples.sample_and_log_prob(key, params)
        return z.sum() + log_q + family.log_prob(params, jnp.full(DIM, 3.0))

    return total


@pytest.mark.parametrize("name", ["planar_flow", "radial_flow", "sylvester_flow"])
def test_any_outputs_are_invertible_and_finite_in_float32(name):
    family = family_of(name)
    total = pathwise_gradient(family)
    # 0: where nothing bends. At 1e3, w'u is about -1e6 in some layer.
    for scale in (0.0, 1.0, 30.0, 1e3):
        for seed in range(5):
            arguments = arguments_of(family, seed, scale)
            found = total(arguments, jax.random.key(seed))
            for leaf in jax.tree.leaves(found):
                assert np.isfinite(leaf).all(), (scale, seed)


@given(slope=st.floats(-0.999, 1e4), target=st.floats(-1e6, 1e6))
def test_the_root_solves_its_equation(slope, target):
    with jax.enable_x64(True):
        a = float(jitted_root(jnp.asarray(slope), jnp.asarray(target)))
    error = a + slope * np.tanh(a) - target
    assert abs(error) <= 1e-12 * (1 + abs(slope) + abs(target))


# What is refused.


def test_dreg_refuses_iaf_unless_its_inverse_is_paid_for():
    def objective(estimator, **settings):
        model = gaussian_mlp((4,), latent_dim=3, posterior="iaf", **settings)
        return make_objective(model, iwae(), estimator, num_samples=2)

    with pytest.raises(IncompatibleError, match=r"refuses iwae .*pay_for_inverse"):
        objective(dreg())
    objective(pathwise())
    objective(dreg(), posterior_settings={"pay_for_inverse": True})


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("planar_flow", {"depth": 0}, "depth=0 must be an integer from 1"),
        ("spline_flow", {"bins": 1001}, "bins is 1001: use at most 1000"),
        ("coupling_flow", {"hidden": (0,)}, r"hidden=\(0,\) must be at most"),
        ("spline_flow", {"bound": 0.0}, "bound is 0.0: use a number above 0"),
        ("sylvester_flow", {"basis": "qr"}, "unknown basis 'qr': use 'orthogonal'"),
        (
            "sylvester_flow",
            {"width": 4},
            "width is 4, and there are 2 coordinates: use at most 2",
        ),
        ("sylvester_flow", {"width": 0}, "width=0 must be an integer from 1"),
        ("low_rank_normal", {"rank": 3}, "rank is 3, of 2 coordinates: use an integer"),
    ],
)
def test_settings_that_make_no_flow_are_refused(name, own, message):
    with pytest.raises(VaejaxError, match=message):
        FAMILIES[name](**own)


def test_outputs_of_another_dim_are_refused():
    family = family_of("radial_flow")
    with pytest.raises(VaejaxError, match=r"reads outputs \[7, 3\], not \[7, 4\]: use"):
        family.head.from_outputs(jnp.zeros((7, 4)))
