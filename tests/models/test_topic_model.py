"""Topic models: the prior's approximation, the words of topics, topics found again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import digamma, polygamma, softmax

from vaejax import BOUNDS, ESTIMATORS, Example, VaejaxError, fit, make_objective
from vaejax.kl_weights import linear
from vaejax.models import prod_lda
from vaejax.models.prod_lda import topic_weights
from vaejax.priors.dirichlet import laplace_approximation

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
TOPICS, WORDS = 5, 60


def test_the_prior_is_the_laplace_approximation_of_the_dirichlet_distribution():
    a = jnp.array([0.3, 1.0, 2.5, 7.0])
    loc, log_scale = laplace_approximation(a)

    def log_density(z):  # of softmax(z), in the basis z, up to a constant
        return a @ jax.nn.log_softmax(z)

    np.testing.assert_allclose(jax.grad(log_density)(loc), 0, atol=1e-5)
    covariance = np.linalg.pinv(-jax.hessian(log_density)(loc), rcond=1e-5)
    np.testing.assert_allclose(np.exp(2 * log_scale), np.diag(covariance), rtol=1e-4)


def test_the_priors_moments_are_the_exact_ones_where_concentrations_are_large():
    a = np.array([100.0, 300.0, 1000.0])
    loc, log_scale = laplace_approximation(jnp.asarray(a))
    # log theta less its mean, of logarithms of independent gamma variables
    exact = digamma(a) - digamma(a).mean()
    centre = np.eye(3) - 1 / 3
    variance = np.diag(centre @ np.diag(polygamma(1, a)) @ centre)
    np.testing.assert_allclose(loc, exact, atol=5e-3)
    np.testing.assert_allclose(np.exp(2 * log_scale), variance, rtol=1e-2)


def test_a_products_words_need_all_topics_and_a_mixtures_one():
    theta = jnp.array([0.5, 0.5])
    given = {"data_shape": (3,), "num_topics": 2, "posterior": "dirichlet"}
    p = {}
    for topics in ("product", "mixture"):
        model = prod_lda(**given, topics=topics)
        params = model.init(KEY)
        experts = jax.nn.softmax(topic_weights(params.decoder))
        p[topics] = jax.nn.softmax(model.decode(params, theta, None)), experts
    words, experts = p["product"]
    product = jnp.prod(experts ** theta[:, None], 0)
    np.testing.assert_allclose(words, product / product.sum(), rtol=1e-5)
    words, experts = p["mixture"]
    np.testing.assert_allclose(words, theta @ experts, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"topics": "product"},
        {"topics": "mixture", "posterior": "dirichlet"},
    ],
    ids=lambda settings: settings["topics"],
)
def test_topics_that_documents_are_from_are_found_again(settings):
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.full(TOPICS, 0.2), 1000)
    if settings["topics"] == "product":
        weights = 2 * rng.normal(size=(TOPICS, WORDS))
        topics, words = softmax(weights, axis=1), softmax(theta @ weights, axis=1)
    else:
        topics = rng.dirichlet(np.full(WORDS, 0.1), TOPICS)
        words = theta @ topics
    documents = rng.multinomial(80, words)
    assert similarity(topics, learned(documents, settings)) > 0.95
    # The same words, dealt to documents at random: there is nothing to be found.
    dealt = rng.multinomial(80, documents.mean(0) / 80, len(documents))
    assert similarity(topics, learned(dealt, settings)) < 0.7


def learned(documents, settings):
    model = prod_lda(
        (WORDS,),
        data_mean=documents.mean(0),
        num_topics=TOPICS,
        hidden=(50,),
        concentration=0.5,
        **settings,
    )
    objective = make_objective(
        model,
        BOUNDS["elbo"](),
        ESTIMATORS["pathwise"](),
        num_samples=1,
        kl_weight=linear(num_steps=100),
    )
    state = fit(
        objective,
        optax.adam(1e-2),
        Example(jnp.asarray(documents, jnp.float32)),
        epochs=15,
        batch_size=100,
        key=KEY,
    )
    return np.asarray(jax.nn.softmax(topic_weights(state.params.decoder)))


def similarity(first, second):
    """The mean cosine of topics matched one to one."""
    unit = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in (first, second)]
    cosines = unit[0] @ unit[1].T
    return cosines[linear_sum_assignment(-cosines)].mean()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_topics": 1}, "at least 2"),
        ({"topics": "sum"}, "unknown topics 'sum': use one of"),
        ({"posterior": "gamma"}, "unknown posterior 'gamma': use one of"),
        ({"concentration": 0.0}, "concentration is 0.0: use a finite number above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(VaejaxError, match=says):
        prod_lda(**settings)
