"""The parts of the KL term, against quadrature of a mixture in two dimensions."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from vaejax.core import Example, IncompatibleError, Labels, OwnSamples, VaejaxError
from vaejax.evaluation import collapse_report, elbo_surgery
from vaejax.models import linear_gaussian

KEY = jax.random.key(0)
MODEL = linear_gaussian((3,), latent_dim=2)
COUNT = 5
X = np.random.default_rng(1).normal(size=(COUNT, 3))
SCALE = np.array([0.5, 0.8])


def with_encoder(weight, scale=SCALE):
    encoder = {
        "weight": jnp.asarray(weight, jnp.float32),
        "bias": jnp.array([0.3, -0.2]),
        "log_scale": jnp.log(jnp.asarray(scale, jnp.float32)),
    }
    return MODEL.init(KEY)._replace(encoder=encoder)


WEIGHT = np.array([[1.0, 0.5, -0.3], [0.8, 0.2, 0.9]])
PARAMS = with_encoder(WEIGHT)


def exact(num_nodes):
    """The parts by the trapezoidal rule on a square, in nats."""
    loc = X @ WEIGHT.T + [0.3, -0.2]  # [N, 2]
    nodes = np.linspace(-9, 9, num_nodes)
    cell = (nodes[1] - nodes[0]) ** 2
    each = norm.logpdf(nodes[:, None, None], loc, SCALE)  # [nodes, N, 2]
    log_qx = each[:, None, :, 0] + each[None, :, :, 1]  # [nodes, nodes, N]
    log_q = logsumexp(log_qx, axis=2) - math.log(COUNT)
    log_qj = logsumexp(each, axis=1) - math.log(COUNT)  # [nodes, 2]
    log_pj = norm.logpdf(nodes)
    q = np.exp(log_q)
    information = (np.exp(log_qx) * (log_qx - log_q[..., None])).sum() * cell / COUNT
    marginal_kl = (q * (log_q - log_pj[:, None] - log_pj)).sum() * cell
    correlation = (q * (log_q - log_qj[:, None, 0] - log_qj[:, 1])).sum() * cell
    dimension_wise = (np.exp(log_qj) * (log_qj - log_pj[:, None])).sum(0) * cell**0.5
    per_unit = 0.5 * (SCALE**2 + loc**2 - 1 - 2 * np.log(SCALE)).mean(0)
    return {
        "kl": per_unit.sum(),
        "mutual_information": information,
        "marginal_kl": marginal_kl,
        "total_correlation": correlation,
        "dimension_wise_kl": dimension_wise,
        "kl_per_unit": per_unit,
    }


EXACT = exact(201)


def z_scores(found):
    return np.concatenate(
        [
            np.atleast_1d((part.value - EXACT[name]) / part.standard_error)
            for name, part in found._asdict().items()
        ]
    )


def test_every_part_is_exact_within_its_error():
    for name, value in exact(401).items():
        np.testing.assert_allclose(value, EXACT[name], atol=1e-9)  # the oracle stands
    found = elbo_surgery(
        MODEL, PARAMS, Example(X), KEY, num_samples=4000, chunk_size=500
    )
    limit = norm.isf(1e-3 / (2 * 8))  # Bonferroni over the eight numbers
    assert np.abs(z_scores(found)).max() < limit
    assert found.mutual_information.standard_error < 0.02
    # Negative control: the parts of posteriors that are wider by a fifth.
    wider = elbo_surgery(
        MODEL,
        with_encoder(WEIGHT, 1.2 * SCALE),
        Example(X),
        KEY,
        num_samples=4000,
        chunk_size=500,
    )
    assert np.abs(z_scores(wider)).min() > limit


def test_the_errors_are_those_of_repetition():
    keys = jax.random.split(jax.random.key(1), 100)
    found = [elbo_surgery(MODEL, PARAMS, Example(X), k, num_samples=20) for k in keys]
    for name in ("mutual_information", "total_correlation"):
        parts = [getattr(one, name) for one in found]
        spread = np.std([part.value for part in parts], ddof=1)
        claimed = np.sqrt(np.mean([part.standard_error**2 for part in parts]))
        assert abs(spread / claimed - 1) < 4 / np.sqrt(2 * 100)


def test_few_examples_tell_less_than_their_population():
    marginal = WEIGHT @ WEIGHT.T + np.diag(SCALE**2)  # of z, where x ~ N(0, I)
    truth = 0.5 * np.linalg.slogdet(marginal)[1] - np.log(SCALE).sum()
    rng = np.random.default_rng(2)

    def information(count):
        examples = Example(rng.normal(size=(count, 3)))
        key = jax.random.key(int(rng.integers(2**31)))
        return elbo_surgery(MODEL, PARAMS, examples, key, num_samples=10)[1].value

    few = np.array([information(10) for _ in range(50)])
    assert few.mean() + 4 * few.std(ddof=1) / np.sqrt(50) < truth
    assert information(2000) == pytest.approx(truth, abs=0.09)


def test_the_parts_add_up_whatever_the_chunk():
    found = elbo_surgery(MODEL, PARAMS, Example(X), KEY, num_samples=3, chunk_size=4)
    kl, information, marginal, correlation, dimension_wise, per_unit = (
        part.value for part in found
    )
    assert kl == pytest.approx(information + marginal, abs=1e-6)
    assert marginal == pytest.approx(correlation + dimension_wise.sum(), abs=1e-6)
    assert kl == pytest.approx(per_unit.sum(), abs=1e-6)
    whole = elbo_surgery(MODEL, PARAMS, Example(X), KEY, num_samples=3)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one.value, other.value, atol=1e-5)


def test_information_is_none_when_collapsed_and_log_n_when_all_are_told_apart():
    collapsed = collapse_report(MODEL, with_encoder(0 * WEIGHT), Example(X), KEY)
    assert abs(collapsed.mutual_information.value) < 1e-5
    assert collapsed.active_units == 0
    assert collapsed.kl.value > 0.1  # of a posterior that is the same for all x
    apart = with_encoder(100 * WEIGHT * [[1], [0]], scale=[0.01, 1.0])
    found = collapse_report(MODEL, apart, Example(X), KEY)
    assert found.mutual_information.value == pytest.approx(math.log(COUNT), abs=1e-4)
    assert found.active_units == 1
    assert found.kl_per_unit.value[0] > 100
    assert found.kl_per_unit.value[1] < 1


def test_coordinates_that_depend_on_each_other_have_no_parts_of_their_own():
    joint = dataclasses.replace(MODEL.posterior, factorised=False)
    model = dataclasses.replace(MODEL, posterior=joint)
    given = {"num_samples": 3, "chunk_size": 4}
    found = elbo_surgery(model, PARAMS, Example(X), KEY, **given)
    assert found[3:] == (None, None, None)
    known = elbo_surgery(MODEL, PARAMS, Example(X), KEY, **given)
    np.testing.assert_allclose(
        found.mutual_information, known.mutual_information, atol=1e-5
    )


def with_family(part, **changes):
    family = dataclasses.replace(getattr(MODEL, part), **changes)
    return dataclasses.replace(MODEL, **{part: family})


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            dataclasses.replace(MODEL, labels=Labels(num_classes=3)),
            "a prior for each label",
        ),
        (with_family("latent_prior", normalized=False), "only up to a factor"),
        (with_family("posterior", has_density=False), "has no density"),
        (
            with_family(
                "posterior", own_samples=OwnSamples(costly_log_prob="too costly")
            ),
            "too costly",
        ),
    ],
)
def test_what_has_no_such_parts_is_refused(model, says):
    with pytest.raises(IncompatibleError, match=says):
        elbo_surgery(model, PARAMS, Example(X), KEY)


def test_a_single_sample_has_no_error_to_tell():
    with pytest.raises(VaejaxError, match="at least 2"):
        elbo_surgery(MODEL, PARAMS, Example(X), KEY, num_samples=1)
