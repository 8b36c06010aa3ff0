"""Several seeds in one program: each is trained as it would be alone."""

import functools
import json

import jax
import numpy as np
import optax
import oracles
import pytest
from tiny_run import tiny

from experiments import train
from experiments.training.evaluate import over_seeds
from experiments.training.load import load_trained
from vaejax.bounds import elbo, iwae
from vaejax.estimators import dreg, moving_average
from vaejax.objective import make_objective
from vaejax.training import of_seed, several_seeds

SEEDS, STEPS = 3, 4


@pytest.mark.parametrize(
    ("name", "bound", "estimator"),
    [
        ("linear_gaussian", iwae(), dreg()),
        ("sigmoid_belief_network", elbo(), moving_average()),
    ],
)
def test_each_seed_is_trained_as_it_would_be_alone(name, bound, estimator):
    alone = make_objective(oracles.MODELS[name], bound, estimator, num_samples=3)
    together = several_seeds(alone, SEEDS)
    optimizer, batch = optax.adam(0.05), oracles.batch_of(name)

    @functools.partial(jax.jit, static_argnums=0)
    def update(objective, params, moments, state, key):
        gradient = jax.value_and_grad(objective.loss, has_aux=True)
        (loss, (state, metrics)), slope = gradient(params, state, key, batch)
        change, moments = optimizer.update(slope, moments)
        return optax.apply_updates(params, change), moments, state, loss, metrics

    params, state = together.init(jax.random.key(0))
    moments = optimizer.init(params)
    singles = [
        (own, optimizer.init(own), of_seed(state, seed))
        for seed in range(SEEDS)
        for own in [of_seed(params, seed)]
    ]
    for number in range(STEPS):
        key = jax.random.key(number)
        params, moments, state, loss, metrics = update(
            together, params, moments, state, key
        )
        updated = [
            update(alone, *single, seed_key)
            for single, seed_key in zip(
                singles, jax.random.split(key, SEEDS), strict=True
            )
        ]
        singles = [own[:3] for own in updated]
    ours = params, state
    means = loss, metrics["bound"]
    each = (
        np.array([own[3] for own in updated]),
        np.array([own[4]["bound"] for own in updated]),
    )
    for seed, (params, _, state) in enumerate(singles):
        found, expected = (
            oracles.flat(of_seed(ours, seed)),
            oracles.flat((params, state)),
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for mean, values in zip(means, each, strict=True):
        np.testing.assert_allclose(mean, values.mean(), rtol=1e-5)
    apart = [oracles.flat(of_seed(ours, seed)) for seed in range(SEEDS)]
    assert np.abs(apart[0] - apart[1]).max() > 0.1


def test_a_run_of_several_seeds_reports_their_spread(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    found = train.run(tiny(tmp_path / "run", num_seeds=3))
    test = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    each = [seed["log_likelihood"] for seed in test["seeds"]]
    assert len(set(each)) == 3
    assert test["log_likelihood"] == pytest.approx(np.mean(each))
    spread = test["standard_deviation_over_seeds"]
    assert spread == pytest.approx(np.std(each, ddof=1))
    errors = [seed["monte_carlo_error"] for seed in test["seeds"]]
    combined = np.sqrt(np.square(errors).sum()) / 3
    assert test["monte_carlo_error"] == pytest.approx(combined)
    assert f"over 3 seeds │ {spread:.2f}" in " ".join(capsys.readouterr().out.split())
    params = load_trained(tmp_path / "run").params
    np.testing.assert_array_equal(oracles.flat(params), oracles.flat(found.params))


def test_a_figure_that_one_seed_lacks_has_no_mean():
    """Few importance weights give one seed a Pareto k and another one none."""
    shared = {"num_examples": 5, "squared_error": 1.0}
    seeds = [shared | {"pareto_k": k} for k in (0.25, None)]
    assert over_seeds(seeds)["pareto_k"] is None
    assert over_seeds([seeds[0], seeds[0]])["pareto_k"] == 0.25
