"""The tightness of bounds against exact expectations; refusals; resumption."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy.stats import norm

from experiments import bound_tightness
from experiments.benchmark import measured_model, tightness_cells
from experiments.benchmark.measured_model import Measured, make_keys
from experiments.benchmark.tightness_cells import (
    TightnessRow,
    controlled,
    measure,
    reference_of,
)
from experiments.benchmark.tightness_findings import cautions, findings, slope
from vaejax import plotting
from vaejax.benchmark.numbers import with_error
from vaejax.bounds import BOUNDS, beta_elbo, iwae, reconstruction
from vaejax.core import Problem, VaejaxError
from vaejax.exact import log_moment, value_and_gradient
from vaejax.models import linear_gaussian
from vaejax.models.linear_gaussian import exact_log_px

pytestmark = pytest.mark.slow

FALSE_ALARM = 1e-3  # chance that a right program fails a test, over all its cells
K = (4, 16)
DRAWS = 2000
ALL = [factory() for factory in BOUNDS.values()]


@pytest.fixture(scope="module")
def discrete() -> Measured:
    """Eight outcomes, so that even the bounds that are no log-means are integrated."""
    name = "sigmoid_belief_network"
    model, params = oracles.MODELS[name], oracles.params_of(name)
    return Measured(name, model, params, oracles.examples_of(name))


@pytest.fixture(scope="module")
def cells(discrete) -> dict:
    reference = reference_of(discrete, jax.random.key(8), 10)
    return {
        (row.bound, k): row
        for k in K
        for row in measure(
            *(discrete, reference, ALL, k, DRAWS),
            jax.random.fold_in(jax.random.key(9), k),
        )
    }


def exact_value(measured: Measured, bound, num_samples: int) -> float:
    problem = Problem(model=measured.model, bound=bound, num_samples=num_samples)
    return value_and_gradient(problem, measured.params, measured.examples).value


def z_score(row: TightnessRow, expected: float) -> float:
    return abs(row.value - expected) / np.hypot(row.stderr, row.rounding)


def limit(count: int) -> float:
    """The limit of a |z|, by Bonferroni's correction for so many tests."""
    return norm.isf(FALSE_ALARM / (2 * count))


def test_every_bound_has_its_exact_expectation_and_no_other(discrete, cells):
    assert cells.keys() == {(name, k) for name in BOUNDS for k in K}
    checked = {
        (bound.name, k): exact_value(discrete, bound, k)
        for bound in ALL
        for k in K
        if k == min(K) or bound.name == "iwae"
    }
    assert {name for name, _ in checked} == set(BOUNDS)
    scores = {cell: z_score(cells[cell], value) for cell, value in checked.items()}
    wrong = {cell: z for cell, z in scores.items() if z > limit(len(scores))}
    assert not wrong
    # The bound of another K, or another bound, is told apart.
    for name, k, other_name, other_k in (
        ("iwae", 4, "iwae", 16),
        ("iwae", 16, "iwae", 4),
        ("iwae", 4, "miwae", 4),
        ("jvi", 4, "iwae", 4),
        ("cubo", 4, "iwae", 4),
        ("renyi", 4, "tvo", 4),
        ("elbo", 4, "beta_elbo", 4),
    ):
        z = z_score(cells[name, k], checked[other_name, other_k])
        assert z > limit(len(scores)), (name, k, other_name, other_k)


def test_theory_is_the_expansion_of_the_exact_expectation(discrete):
    reference = reference_of(discrete, jax.random.key(8), 10)
    for name in ("iwae", "cubo"):
        bound = BOUNDS[name]()
        errors = []
        for k in (64, 128):
            limit_, leading = tightness_cells._theory(bound, k, reference)
            expected = exact_value(discrete, bound, k)
            assert abs(expected - leading) < 0.2 * abs(limit_ - leading), name
            errors.append(abs(expected - leading))
        assert errors[1] < errors[0] / 3, name  # O(1 / K^2)


def test_log_moments_are_those_of_the_closed_form():
    model = linear_gaussian(data_shape=(3,), latent_dim=1)
    params = oracles.params_of("linear_gaussian")
    examples = oracles.examples_of("linear_gaussian")
    expected = jax.vmap(exact_log_px, (None, 0))(params, examples.x)
    np.testing.assert_allclose(log_moment(model, params, examples), expected, rtol=1e-6)
    narrow = params._replace(encoder=params.encoder | {"log_scale": jnp.full(1, -2.0)})
    with pytest.raises(VaejaxError, match="moment of order 2 did not converge"):
        log_moment(model, narrow, examples, order=2.0)  # it is infinite


def test_a_control_variate_changes_no_mean_and_takes_away_noise():
    rng = np.random.default_rng(0)
    means, deviations, plain = [], [], []
    for _ in range(2000):
        control = rng.exponential(size=20) - 1
        values = (control + 0.1 * rng.standard_normal(20) + 3)[:, None]
        found = controlled(values, control)
        means.append(found.mean())
        deviations.append(found.std(ddof=1))
        plain.append(values.mean())
    spread = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - 3) < 4 * spread
    assert np.std(means) < 0.3 * np.std(plain)
    assert np.mean(deviations) / np.sqrt(20) == pytest.approx(np.std(means), rel=0.15)
    assert (controlled(values, np.zeros(20)) == values).all()
    # What fits its coefficient to the draws it is used on is biased, and is told so.
    skewed = []
    for _ in range(4000):
        control = rng.exponential(size=4) - 1
        values = control**2
        centred = control - control.mean()
        skewed.append(
            (values - control * (centred @ values) / (centred @ centred)).mean()
        )
    assert abs(np.mean(skewed) - 1) > 4 * np.std(skewed) / np.sqrt(len(skewed))


def reported(measured, bounds) -> str:
    """The findings of the cells of these bounds at K = 4."""
    reference = reference_of(measured, jax.random.key(8), 10)
    rows = measure(measured, reference, bounds, 4, DRAWS, jax.random.key(10))
    return "\n".join([*findings("x", rows, reference), *cautions(rows)])


def test_the_report_counts_as_lower_what_states_so(discrete):
    """True log p(x) judges, in z-scores; a wrongly declared bound is the control."""
    said = reported(discrete, [*ALL, beta_elbo(0.5)])
    lower = sum(bound.relation == "lower" for bound in ALL)
    assert f"None of {lower} cells of lower bounds is above log p(x)" in said
    assert "reconstruction, beta_elbo:beta=0.5: not a bound on log p(x)." in said
    wrong = dataclasses.replace(reconstruction(), relation="lower")
    said = reported(discrete, [wrong])
    assert "1 of 1 cell of lower bounds is above log p(x) by more than" in said
    assert "not a bound" not in said
    assert said.count("of K at K = 4") == 1


def small(out, **changes) -> bound_tightness.Config:
    return dataclasses.replace(
        bound_tightness.Config(
            bounds=("elbo", "iwae", "cubo", "jvi", "miwae"),
            num_samples=(1, 40, 80, 160),
            draws=100,
            num_examples=2,
            out=out,
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return bound_tightness.run(small(tmp_path_factory.mktemp("tight") / "whole"))


def test_a_run_writes_a_row_per_cell_and_what_they_say(whole):
    rows = list(csv.DictReader((whole.out / "results.csv").read_text().splitlines()))
    cells = [(row["bound"], int(row["num_samples"])) for row in rows]
    bounds = ("elbo", "iwae", "cubo", "jvi", "miwae")
    assert cells == [(name, k) for k in (1, 40, 80, 160) for name in bounds]
    for text, row in zip(rows, whole.rows, strict=True):
        assert text["model_settings"] == "data_shape=2 latent_dim=1"
        assert (text["seed"], text["draws"], text["num_examples"]) == ("0", "100", "2")
        if row.kind == "refused":
            assert text["refusal"]
            assert text["value"] == text["gap"] == ""
            continue
        assert float(text["value"]) == row.value
        assert row.gap == pytest.approx(row.log_px - row.value, abs=1e-9)
        assert row.gap_stderr == row.stderr > 0
        assert np.isnan(row.pareto_k) == (row.num_samples < 21)
    refused = {r.bound for r in whole.rows if r.kind == "refused"}
    assert refused == {"jvi", "miwae"}
    saved = json.loads((whole.out / "results.json").read_text())
    assert saved["findings"] == whole.findings
    assert saved["refusals"]["jvi at K = 1"].startswith("the jackknife")
    assert saved["slopes"]["iwae"]["slope"] == pytest.approx(-1, abs=0.25)
    said = "\n".join(whole.findings)
    assert f"is {whole.rows[0].log_px:.5f} nats, exactly" in said
    assert "The gap of iwae falls with K: its log-log slope is -" in said
    assert "Refused: jvi at K = 1, because the jackknife" in said
    assert "cells of lower bounds is above log p(x)" in said
    report = (whole.out / "report.html").read_text()
    lead, _, apart = report.partition("Before relying on it")
    assert "minus each bound, in nats, smallest gap first" in lead
    assert "Refused" not in lead
    assert "Refused: jvi at K = 1" in apart
    assert "python -m experiments.bound_tightness --bounds elbo" in report
    for name in ("bounds.pdf", "bounds.png", "weights.pdf", "weights.png"):
        assert (whole.out / "figures" / name).stat().st_size > 1000


def test_a_killed_run_goes_on_to_the_same_rows(whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(bound_tightness, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt, match="--resume continues from there"):
        bound_tightness.run(small(out))
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 2 * 5
    with (out / "metrics.jsonl").open("a") as lines:
        lines.write('{"num_samples": 80, "ro')  # killed in the middle of a line
    with pytest.raises(VaejaxError, match="unfinished run: use --resume"):
        bound_tightness.run(small(out))
    with pytest.raises(VaejaxError, match="other settings: draws was 100 and is 30"):
        bound_tightness.run(small(out, draws=30, resume=True))
    resumed = bound_tightness.run(small(out, resume=True))
    assert len(calls) == 5  # two K before, one cut short, two after
    assert resumed.rows == whole.rows
    for name in ("results.csv", "metrics.jsonl"):
        assert (out / name).read_text() == (whole.out / name).read_text()
    assert resumed.findings == whole.findings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bounds": ("nope",)}, "unknown bound 'nope'.*iwae"),
        ({"bounds": ("elbo", "elbo")}, "bounds is .*name each one once"),
        ({"num_samples": (2, 2)}, "num_samples is .*name each one once"),
        ({"num_samples": ()}, "at least one K"),
        ({"num_samples": (0,)}, r"--num-samples is \(0,\): use at most 100"),
        ({"draws": 9}, "--draws is 9: use an integer from 10 to"),
        ({"num_examples": 0}, "--num-examples is 0: use an integer"),
        ({"eval_num_samples": 0}, "--eval-num-samples is 0: use an integer"),
        ({"seed": -1}, "--seed is -1: .* 0 to 4,294,967,295"),
        ({"model": "nope"}, "unknown model 'nope'.*linear_gaussian"),
        ({"model_settings": ("nope=1",)}, "no setting .*nope.*latent_dim"),
        ({"checkpoint": "nowhere"}, "cannot read .*experiments.train"),
        ({"checkpoint": "x", "model_settings": ()}, "follow from the run"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    settings, message, tmp_path
):
    out = tmp_path / "run"
    if "checkpoint" in settings:
        settings = settings | {"checkpoint": tmp_path / settings["checkpoint"]}
    with pytest.raises(VaejaxError, match=message):
        bound_tightness.run(bound_tightness.Config(**settings, out=out))
    assert not out.exists()


def test_the_default_settings_are_the_default_models_alone():
    config = bound_tightness.Config(model="bernoulli_toy")
    keys = make_keys(config.seed)
    assert bound_tightness._measured(config, keys).name == "bernoulli_toy"


def test_what_cannot_be_integrated_is_estimated_with_its_error():
    keys = make_keys(0)
    measured = measured_model.of_registry(
        "linear_gaussian",
        ("data_shape=4", "latent_dim=4"),
        6,
        params_key=keys.params,
        examples_key=keys.examples,
    )
    reference = reference_of(measured, keys.comparison.reference, 2000)
    assert not reference.is_exact
    truth = jax.vmap(exact_log_px, (None, 0))(measured.params, measured.examples.x)
    rows = measure(measured, reference, [iwae()], 10, 10, keys.comparison.draws)
    (row,) = rows
    assert np.isnan(row.leading_order)
    assert row.gap_stderr > row.stderr > 0
    assert row.log_px == pytest.approx(reference.log_px.mean())
    low = reference.log_px.mean() - float(truth.mean())
    assert abs(low + reference.shortfall) < 5 * row.log_px_stderr
    (first, *_) = findings("x", rows, reference)
    assert "is estimated by 2000 importance samples: " in first
    assert with_error(row.log_px, row.log_px_stderr) in first


def row_at(
    k: int, gap: float, stderr: float, leading: float, **changes
) -> TightnessRow:
    row = TightnessRow(
        bound="iwae",
        kind="lower",
        num_samples=k,
        log_px=-3.0,
        log_px_stderr=0.0,
        value=-3.0 - gap,
        stderr=stderr,
        gap=gap,
        gap_stderr=stderr,
        rounding=1e-7,
        limit=-3.0,
        leading_order=-3.0 - leading,
    )
    return dataclasses.replace(row, **changes)


def test_the_slope_is_fitted_where_theory_holds_and_has_its_interval():
    rng = np.random.default_rng(0)
    k = np.array([10, 20, 50, 100, 200, 500, 1000])
    inside = 0
    for _ in range(200):
        gap = 0.3 / k * (1 + 0.05 * rng.standard_normal(k.size))
        rows = [row_at(n, g, 0.015 / n, 0.3 / n) for n, g in zip(k, gap, strict=True)]
        rows[0] = dataclasses.replace(
            rows[0], gap=5.0
        )  # its leading order is above 0.01 nats: not fitted
        fit = slope(rows)
        assert fit["from_k"] == 50
        inside += abs(fit["slope"] + 1) <= fit["half_width"]
    assert 180 <= inside <= 199  # of 95%: 190
    steep = [row_at(n, 3.0 / n**1.5, 0.01 / n, 0.3 / n) for n in k]
    fit = slope(steep)
    assert abs(fit["slope"] + 1) > fit["half_width"]
    assert slope(rows[:4]) is None


def test_the_figure_shows_every_bound_and_which_side_it_is_on():
    rows = [row_at(k, 0.3 / k, 0.01 / k, 0.31 / k) for k in (1, 10, 100)]
    above = {"bound": "cubo", "kind": "upper", "leading_order": np.nan}
    rows += [row_at(k, 0.1 - 0.2 * (k > 1), 0.01, 0, **above) for k in (1, 10, 100)]
    rows.append(TightnessRow(bound="jvi", kind="refused", num_samples=1))
    figure = plotting.bound_tightness(rows)
    values, gaps = figure.axes
    drawn = {line.get_label(): line for line in values.lines}
    assert drawn["iwae"].get_xydata().tolist() == [
        [k, -3.0 - 0.3 / k] for k in (1, 10, 100)
    ]
    assert (drawn["iwae"].get_linestyle(), drawn["cubo"].get_linestyle()) == ("-", "--")
    assert "jvi" not in drawn
    assert drawn["_log p(x)"].get_ydata() == [-3.0, -3.0]
    hollow = [line for line in gaps.lines if line.get_label() == "_above"]
    assert [line.get_xdata().tolist() for line in hollow] == [[], [10, 100]]
    (theory,) = (line for line in gaps.lines if line.get_label() == "_theory")
    assert theory.get_ydata() == pytest.approx([0.31, 0.031, 0.0031])
    assert gaps.get_xscale() == gaps.get_yscale() == "log"
    assert [text.get_text() for text in values.texts] == [r"$\log p(x)$"]
    far = [row_at(k, 40.0, 0.1, 0, bound="beta_elbo") for k in (1, 10, 100)]
    values, gaps = plotting.bound_tightness([*rows, *far]).axes
    assert values.texts[-1].get_text() == "below: beta_elbo"
    assert values.get_ylim()[0] > -5
    assert gaps.get_ylim()[1] > 40
    with pytest.raises(VaejaxError, match="every cell was refused"):
        plotting.bound_tightness(rows[-1:])
    with pytest.raises(VaejaxError, match="no rows to draw"):
        plotting.weight_health([])


def test_a_lower_bound_above_log_px_is_named():
    rows = [row_at(10, 0.01, 0.001, 0.01), row_at(20, -0.01, 0.001, 0.005)]
    rows = [dataclasses.replace(row, relative_ess=0.5) for row in rows]
    reference = tightness_cells.Reference(
        np.full(2, -3.0),
        np.zeros(2),
        "exact",
        True,
        lambda order: np.full(2, -3.0 * order),
    )
    said = "\n".join(findings("x", rows, reference))
    assert "1 of 2 cells of lower bounds is above log p(x) by more than chance" in said
    assert said.count("iwae at K = 20") == 1
