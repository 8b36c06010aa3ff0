"""M2: the bounds of Kingma et al. 2014, equations 6 to 9, and what labels are for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import Batch, Example, VaejaxError, make_objective
from vaejax.bounds import elbo
from vaejax.core import Problem
from vaejax.estimators import stratified
from vaejax.models import m2
from vaejax.training import fit

CLASSES, PIXELS = 3, 6
KEY = jax.random.key(0)
MODEL = m2((PIXELS,), latent_dim=2, num_classes=CLASSES, hidden=(5,))


PARAMS = MODEL.init(KEY)


def test_the_encoder_has_the_hidden_layers_asked_for_and_no_other():
    """Layers of widths 5 and 4, activated alike; y joins the outputs of the first."""
    x = jax.random.normal(KEY, (PIXELS,))
    model = m2(
        (PIXELS,), latent_dim=2, num_classes=CLASSES, hidden=(5, 4), activation="silu"
    )
    params = model.init(KEY)
    first, *rest = (
        layer
        for part in ("trunk", "head")
        for layer in params.encoder[part]["layers"].values()
    )
    seen = jax.nn.silu(x @ first["kernel"])
    for y in range(CLASSES):
        joined = jnp.concatenate([seen, jnp.eye(CLASSES)[y]])
        by_hand = jax.nn.silu(joined @ rest[0]["kernel"]) @ rest[1]["kernel"]
        given = jax.tree.map(
            lambda leaf, y=y: leaf[y], model.encode(params, Example(x)).given
        )
        np.testing.assert_allclose(jnp.concatenate(given), by_hand, atol=1e-6)


def test_without_a_label_the_bound_is_the_papers_mixture_over_the_classes():
    """-U(x) = sum_y q(y|x) (-L(x, y)) + H(q(y|x)), equation 7, with its gradient.

    It holds draw by draw: a class's z has the same noise with a label and without.
    """
    problem = Problem(model=MODEL, bound=elbo(), num_samples=2)
    x = jnp.array([1.0, 0, 1, 1, 0, 0])

    def bound(params, y):
        given = problem, params, (), KEY, Example(x, jnp.asarray(y))
        return stratified().surrogate(*given)[0]

    def by_hand(params):
        log_q = MODEL.encode(params, Example(x)).log_probs
        of_class = jnp.stack([bound(params, y) for y in range(CLASSES)])
        return jnp.exp(log_q) @ (of_class - log_q)

    unlabelled = jax.jit(jax.value_and_grad(bound))(PARAMS, -1)
    expected = jax.jit(jax.value_and_grad(by_hand))(PARAMS)
    for one, other in zip(*map(jax.tree.leaves, (unlabelled, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert bound(PARAMS, 0) != pytest.approx(float(unlabelled[0]), abs=1e-3)


def test_a_label_leaves_no_other_class_and_the_classifier_learns_from_labels_alone():
    params = PARAMS
    x = jax.random.bernoulli(KEY, 0.5, (4, PIXELS)).astype(jnp.float32)
    y = jnp.array([2, -1, 0, -1])
    told = jax.vmap(lambda x, y: MODEL.encode(params, Example(x, y)))(x, y)
    assert jnp.exp(told.log_probs[0]).tolist() == [0, 0, 1]
    free = jax.vmap(lambda x: MODEL.encode(params, Example(x)).log_probs)(x)
    np.testing.assert_array_equal(told.log_probs[1], free[1])

    (classification,) = MODEL.extras.regularizers
    batch = Batch(Example(x, y), jnp.arange(4))
    penalty = classification.penalty(MODEL, params, KEY, batch)
    np.testing.assert_allclose(penalty, -(free[0, 2] + free[2, 0]) / 4, rtol=1e-5)
    unknown = Batch(Example(x, jnp.full(4, -1)), jnp.arange(4))
    assert classification.penalty(MODEL, params, KEY, unknown) == 0


def test_images_without_labels_teach_the_classifier():
    """Three noisy patterns, one of each labelled, and those by their worst copies."""
    rng = np.random.default_rng(0)
    size, count = 24, 900
    patterns = np.kron(np.eye(CLASSES), np.ones(size // CLASSES))
    classes = rng.integers(0, CLASSES, count)
    x = np.abs(patterns[classes] - (rng.uniform(size=(count, size)) < 0.3))
    y = np.full(count, -1)
    for label in range(CLASSES):
        own = np.flatnonzero(classes == label)
        y[own[np.abs(x[own] - patterns[label]).sum(1).argmax()]] = label
    few = np.flatnonzero(y >= 0)
    model = m2(
        (size,),
        data_mean=x.mean(0),
        latent_dim=1,
        num_classes=CLASSES,
        hidden=(20,),
        classification_weight=3.0,
    )
    stored = np.concatenate([np.arange(count), np.repeat(few, 30)])

    def accuracy(chosen, epochs):
        data = Example(jnp.asarray(x[chosen], jnp.float32), jnp.asarray(y[chosen]))
        state = fit(
            make_objective(model, elbo(), stratified(), num_samples=1),
            optax.adam(3e-3),
            data,
            epochs=epochs,
            batch_size=90,
            key=KEY,
        )
        of_one = jax.vmap(lambda x: model.encode(state.params, Example(x)).log_probs)
        found = np.asarray(of_one(jnp.asarray(x, jnp.float32)).argmax(1))
        return (found == classes).mean()

    with_all = accuracy(stored, 40)
    labels_alone = accuracy(np.repeat(few, 30), 400)
    assert with_all > 0.75 > 0.5 > labels_alone


def test_a_weight_that_cannot_be_is_refused():
    for weight in (-1.0, np.inf, np.nan):
        message = "must be a number from" if weight != -1 else "use at least 0, and"
        with pytest.raises(VaejaxError, match=message):
            m2(classification_weight=weight)
