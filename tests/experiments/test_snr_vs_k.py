"""The toy is what it says, its signal-to-noise ratios scale as the theorems say."""

import csv
import dataclasses
import importlib
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import snr_vs_k
from experiments.benchmark import snr_points, snr_report
from experiments.benchmark.measured_model import make_keys
from experiments.benchmark.snr_points import SnrRow, gap_at_optimum, toy
from vaejax import exact, plotting
from vaejax.benchmark.cells import Point
from vaejax.bounds import iwae
from vaejax.core import Batch, Example, Problem, VaejaxError
from vaejax.estimators import dreg, pathwise, stl
from vaejax.models import gaussian_mlp
from vaejax.models.gaussian_toy import exact_elbo, exact_log_px, optimum, perturbed
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

GAP = 20 * 0.5 * (4 / 3 - 1 - math.log(4 / 3))
KEY = jax.random.key(0)


# ---- the toy


@pytest.mark.parametrize("num_samples", [1, 3000])
def test_the_closed_forms_are_those_of_quadrature(num_samples):
    """IWAE of one sample is the ELBO; of very many, nearly log p(x)."""
    model, params, examples = toy(KEY, dim=1, count=3)
    params = perturbed(params, jax.random.key(1), 0.3)
    problem = Problem(model=model, bound=iwae(), num_samples=num_samples)
    found = exact.value_and_gradient(problem, params, examples)

    def mean(params):
        if num_samples == 1:
            values = jax.vmap(exact_elbo, (None, None, 0))(model, params, examples.x)
        else:
            values = jax.vmap(exact_log_px, (None, 0))(params, examples.x)
        return values.mean()

    assert float(mean(params)) == pytest.approx(found.value, abs=2e-4)
    for leaf, expected in zip(
        jax.tree.leaves(jax.grad(mean)(params)),
        jax.tree.leaves(found.gradient),
        strict=True,
    ):
        np.testing.assert_allclose(leaf, expected, atol=5e-4)


def test_the_elbo_gap_at_the_optimum_is_the_published_one():
    assert pytest.approx(0.4565, abs=5e-5) == GAP
    model, _, examples = toy(KEY)
    gap = gap_at_optimum(model, examples, jax.random.key(1), draws=8)
    assert gap.exact == pytest.approx(GAP, abs=2e-5)
    assert abs(gap.estimate - GAP) < 4.5 * gap.stderr  # |t| of 7 degrees, p = 0.003
    assert gap.stderr < 0.02 * GAP


def test_a_wrong_scale_shows_in_the_sampled_gap(monkeypatch):
    module = importlib.import_module("vaejax.models.gaussian_toy")
    monkeypatch.setattr(module, "POSTERIOR_VARIANCE", 0.6)
    model, _, examples = toy(KEY)
    gap = gap_at_optimum(model, examples, jax.random.key(1), draws=8)
    assert abs(gap.estimate - GAP) > 20 * gap.stderr


def test_the_optimum_is_stationary_and_the_start_is_near_it():
    model, params, examples = toy(KEY)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jax.vmap(exact_elbo, (None, None, 0))(model, params, examples.x).mean()

    best = optimum(examples.x.mean(0))
    for at, stationary in ((best, True), (params, False)):
        for leaf in jax.tree.leaves(gradient(at)):
            assert (np.abs(leaf).max() < 1e-4) == stationary
    noise = jax.tree.map(lambda a, b: a - b, params, best)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(noise)])
    assert flat.size == 440
    assert flat.std() == pytest.approx(0.01, rel=4 / np.sqrt(2 * 440))


# ---- a point


def small_setting(draws: int, batch_size: int = 2) -> Point:
    """The toy in one dimension, whose expected gradients are known at any K."""
    model, params, examples = toy(KEY, dim=1, count=4)
    params = perturbed(params, jax.random.key(2), 0.2)
    batch = Batch(Example(examples.x[:batch_size]), jnp.arange(batch_size))
    return Point(model, params, batch, make_keys(0).comparison, draws)


def test_the_folds_hold_the_gradient_of_the_mean_of_m_estimates():
    """Its mean is the exact gradient, its variance that of one estimate over M."""
    setting = small_setting(draws=20_000)
    problem = Problem(model=setting.model, bound=iwae(), num_samples=5)
    truth = exact.value_and_gradient(problem, setting.params, setting.batch.example)
    objective = make_objective(setting.model, iwae(), dreg(), num_samples=5)
    variances = {}
    for times in (1, 4):
        batch = snr_points._repeated(setting.batch.example, times)
        drawn = snr_points._draw(setting._replace(batch=batch), objective, 5)
        for group, fields in snr_points.GROUPS.items():
            means, variance, *_ = drawn[group]
            assert means.shape == variance.shape == (20, 1 + (group == "encoder"))
            of_group = [getattr(truth.gradient, field) for field in fields]
            expected = -jax.flatten_util.ravel_pytree(of_group)[0]
            stderr = np.sqrt(variance.mean(0) / setting.draws)
            z = np.abs(means.mean(0) - expected) / stderr
            assert z.max() < 4
            assert (np.abs(means.mean(0) - 1.1 * expected) / stderr).max() > 4
            variances[group, times] = variance
    for group in snr_points.GROUPS:
        one, four = variances[group, 1], 4 * variances[group, 4]
        difference = (one.mean(0) - four.mean(0)) / np.sqrt(
            (one.var(0, ddof=1) + four.var(0, ddof=1)) / 20
        )
        assert np.abs(difference).max() < 4.5


def test_an_unbiased_estimators_signal_is_the_quietest_ones_a_biased_ones_its_own():
    rows = snr_points.measure_point(
        small_setting(draws=4000), iwae(), [pathwise(), stl(), dreg()], 1, 5
    )
    of_encoder = {r.estimator: r for r in rows if r.group == "encoder"}
    sources = {name: row.signal_of for name, row in of_encoder.items()}
    assert sources == {"pathwise": "dreg", "dreg": "dreg", "stl": "stl"}
    shared = of_encoder["pathwise"]
    z = (shared.snr - shared.own_snr) / shared.own_snr_stderr
    assert abs(z) < 4
    assert shared.snr_stderr < shared.own_snr_stderr
    # The signal of a biased estimator is not that of the others.
    of_stl = of_encoder["stl"]
    assert of_stl.snr == of_stl.own_snr


def test_a_point_of_few_draws_is_unsafe_wherever_it_is_told():
    """Below 100 draws no tail shows; of normal draws as many are safe."""
    estimators = [pathwise(), dreg()]
    few = snr_points.measure_point(small_setting(draws=40), iwae(), estimators, 1, 5)
    many = snr_points.measure_point(small_setting(draws=4000), iwae(), [dreg()], 1, 5)
    assert {(row.safe, row.draws) for row in few} == {(False, 40)}
    assert {(row.safe, row.draws) for row in many} == {(True, 4000)}
    assert all(0 <= row.pareto_k < 0.5 for row in many)
    (said,) = snr_report.cautions(few)
    assert said.startswith("4 of 4 estimates are marked")
    assert "the fewest draws are 40" in said
    assert "too few draws to show a tail" in said
    assert "†" in snr_report._point(few[0])["snr"]
    assert "†" not in snr_report._point(many[0])["snr"]


def test_a_slope_through_an_unsafe_point_is_marked():
    rows = [row for k in (1, 10, 100) for row in fake_point(None, None, None, 1, k)]
    for safe in (True, False):
        changes = {"safe": safe, "draws": 40, "pareto_k": 0.2}
        rows[1] = dataclasses.replace(rows[1], **changes)
        slopes = snr_report.fit(rows, "iwae", fit_from=1, cross=(1, 1))
        (first,) = map(str, snr_report.in_words(rows, slopes, None))
        rest = snr_report.cautions(rows)
        assert ("†" in first) == ("†" in snr_report._shown(slopes[0])["± 95%"])
        assert ("†" in first, len(rest)) == (not safe, int(not safe))
        figure = plotting.scaling_laws(rows, slopes, "num_samples")
        marks = [n for n in figure.axes[0].lines if n.get_label() == "_unsafe"]
        assert [len(line.get_xdata()) for line in marks] == [int(not safe)]
        texts = {text.get_text() for text in figure.legends[0].get_texts()}
        assert ("interval unsafe" in texts) == (not safe)


# ---- a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> snr_vs_k.Results:
    return snr_vs_k.run(
        snr_vs_k.Config(
            num_samples=(1, 16, 128),
            num_outer=(1, 16),
            draws=400,
            batch_size=4,
            fit_from=16,
            out=tmp_path_factory.mktemp("snr") / "run",
        )
    )


def test_the_slopes_are_those_of_the_theorems(finished):
    found = {(s.axis, s.group, s.estimator): s for s in finished.slopes}
    k, m = "num_samples", "num_outer"
    assert {key: slope.theory for key, slope in found.items()} == {
        (k, "model", "pathwise"): 0.5,
        (k, "model", "dreg"): 0.5,
        (k, "model", "ovis_asymptotic"): 0.5,
        (k, "encoder", "pathwise"): -0.5,
        (k, "encoder", "dreg"): 0.5,
        (k, "encoder", "ovis_asymptotic"): 0.5,
        (m, "model", "pathwise"): 0.5,
        (m, "model", "dreg"): 0.5,
        (m, "encoder", "pathwise"): 0.5,
        (m, "encoder", "dreg"): 0.5,
    }
    for key, slope in found.items():
        stderr = (slope.high - slope.low) / (2 * 1.96)
        # Of one sign at 10 standard errors; near the law, which is exact in M only.
        assert slope.slope * np.sign(slope.theory) > 10 * stderr, key
        bend = 0 if key[0] == m else 0.08
        assert abs(slope.slope - slope.theory) < bend + 4 * stderr, key
    # With the noise floor left in, the fall of the pathwise encoder is not seen.
    assert found[k, "encoder", "pathwise"].uncorrected > -0.35


def test_a_run_writes_its_points_slopes_and_figures(finished):
    out = finished.out
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["estimator"], row["group"]) for row in rows] == [
        (row.estimator, row.group) for row in finished.rows
    ]
    assert {(row["num_outer"], row["num_samples"]) for row in rows} == {
        *(("1", "1"), ("1", "16")),
        *(("1", "128"), ("16", "1")),
    }
    refused = [row for row in rows if row["status"] == "refused"]
    assert {row["estimator"] for row in refused} == {"ovis_asymptotic"}
    assert all("use ovis_mc" in row["reason"] for row in refused)
    saved = json.loads((out / "results.json").read_text())
    assert saved["findings"] == finished.findings
    assert saved["noise_floor"] == pytest.approx(math.sqrt(2 / (400 * math.pi)))
    assert saved["elbo_gap"]["exact"] == pytest.approx(GAP, abs=2e-5)
    assert any("0.4565 nats below log p(x)" in said for said in finished.findings)
    for axis in ("num_samples", "num_outer"):
        for suffix in ("pdf", "png"):
            path = out / "figures" / f"snr_{axis}.{suffix}"
            assert path.stat().st_size > 1000


def fake_point(setting, bound, estimators, num_outer, num_samples):
    """Ratios on the law, without any gradient."""
    return [
        SnrRow(
            num_outer=num_outer,
            num_samples=num_samples,
            estimator="pathwise",
            group="encoder",
            status="unbiased",
            draws=2000,
            snr=0.1 * num_outer**0.5 * num_samples**-0.5,
            snr_stderr=1e-4,
            plain_snr=0.1,
        )
    ]


def test_an_interrupted_run_goes_on_with_the_points_that_are_left(
    tmp_path, monkeypatch
):
    measured = []

    def interrupted(*args):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(args[-2:])
        return fake_point(*args)

    monkeypatch.setattr(snr_vs_k, "measure_point", interrupted)
    monkeypatch.setattr(snr_vs_k, "gap_at_optimum", lambda *_: None)
    config = snr_vs_k.Config(
        estimators=("pathwise",),
        num_samples=(1, 10, 100),
        num_outer=(1, 10),
        fit_from=1,
        out=tmp_path / "run",
    )
    with pytest.raises(KeyboardInterrupt, match="--resume continues"):
        snr_vs_k.run(config)
    metrics = config.out / "metrics.jsonl"
    assert len((config.out / "results.csv").read_text().splitlines()) == 3
    with metrics.open("a") as lines:
        lines.write('{"num_outer": 1, "num_sam')  # cut short as by a kill
    monkeypatch.setattr(
        snr_vs_k, "measure_point", lambda *a: measured.append(a[-2:]) or fake_point(*a)
    )
    with pytest.raises(VaejaxError, match="unfinished run: use --resume"):
        snr_vs_k.run(config)
    with pytest.raises(VaejaxError, match="draws was 2000 and is 400"):
        snr_vs_k.run(dataclasses.replace(config, draws=400, resume=True))
    results = snr_vs_k.run(dataclasses.replace(config, resume=True))
    assert measured == [(1, 1), (1, 10), (1, 100), (10, 1)]
    whole = snr_vs_k.run(dataclasses.replace(config, out=tmp_path / "whole"))
    assert results.rows == whole.rows
    assert [slope.slope for slope in results.slopes] == pytest.approx([-0.5, 0.5])


def test_signals_that_do_not_agree_are_seen():
    (row,) = fake_point(None, None, None, 1, 4)
    row = dataclasses.replace(row, own_snr=0.05, own_snr_stderr=0.01, signal_of="dreg")
    (finding,) = map(str, snr_report.in_words([row], [], None))
    assert "by at most 0.0 standard errors (over 1 point)" in finding
    louder = dataclasses.replace(row, own_snr=0.1)
    (finding,) = map(str, snr_report.in_words([louder], [], None))
    assert "by at most 3.8 standard errors" in finding  # (0.01 - 0.0025) / 0.002


def test_points_too_faint_or_below_the_first_k_are_not_fitted():
    rows = [
        row for k in (1, 10, 100, 1000) for row in fake_point(None, None, None, 1, k)
    ]
    (slope,) = snr_report.fit(rows, "iwae", fit_from=10, cross=(1, 1))
    assert slope.fitted == [10, 100, 1000]
    rows[-1] = dataclasses.replace(rows[-1], snr_stderr=0.25 * rows[-1].snr)
    rows[-2] = dataclasses.replace(rows[-2], snr=math.nan)
    assert snr_report.fit(rows, "iwae", fit_from=10, cross=(1, 1)) == []
    (slope,) = snr_report.fit(rows, "renyi", fit_from=1, cross=(1, 1))
    assert (slope.fitted, slope.get("theory")) == ([1, 10], None)


def test_the_curves_of_a_trained_model(tmp_path, monkeypatch):
    model = gaussian_mlp((3,), latent_dim=1, hidden=())
    x = jax.random.bernoulli(KEY, 0.5, (2, 3)).astype(jnp.float32)
    asked = []

    def load(*arguments):
        asked.append(arguments)
        return snr_vs_k.Measured("a run", model, model.init(KEY), Example(x))

    monkeypatch.setattr(snr_vs_k, "of_checkpoint", load)
    config = snr_vs_k.Config(
        checkpoint=Path("runs/trained"),
        estimators=("dreg",),
        num_samples=(1, 4),
        num_outer=(1,),
        draws=400,
        batch_size=2,
        fit_from=1,
        out=tmp_path / "run",
    )
    results = snr_vs_k.run(config)
    assert asked == [(Path("runs/trained"), 2, "batch_size")]
    assert results.gap is None
    assert json.loads((config.out / "results.json").read_text())["elbo_gap"] is None
    ratios = {(row.group, row.num_samples): row.snr for row in results.rows}
    assert ratios.keys() == {(g, k) for g in ("model", "encoder") for k in (1, 4)}
    assert all(ratio > 0 for ratio in ratios.values())
    assert ratios["model", 4] > ratios["model", 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": (1, 0)}, r"--num-samples is \(1, 0\): use at most 100"),
        ({"num_outer": (0,)}, "--num-outer is .*an integer"),
        ({"num_outer": ()}, "at least one estimator, one K and one M"),
        ({"estimators": ()}, "at least one estimator"),
        ({"estimators": ("nope",)}, "unknown estimator 'nope'.*dreg"),
        ({"bound": "nope"}, "unknown bound 'nope'.*iwae"),
        ({"estimators": ("rloo",)}, "rloo refuses iwae .* at every K: .*use"),
        ({"draws": 2010}, "2010 draws .* a multiple of 20 that is at least 40"),
        ({"draws": 20}, "20 draws .* at least 40"),
        ({"batch_size": 1025}, "batch_size is 1025, but the toy has 1024"),
        ({"fit_from": 0}, "--fit-from is 0"),
        ({"seed": -1}, "--seed is -1: .* 0 to 4,294,967,295"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    settings, message, tmp_path
):
    with pytest.raises(VaejaxError, match=message):
        snr_vs_k.run(snr_vs_k.Config(**settings, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# ---- the figure


def test_the_figure_shows_points_what_is_not_fitted_and_the_law():
    rows = [row for k in (1, 10, 100) for row in fake_point(None, None, None, 1, k)]
    slopes = snr_report.fit(rows, "iwae", fit_from=10, cross=(1, 1))
    figure = plotting.scaling_laws(rows, slopes, "num_samples")
    (panel,) = figure.axes
    drawn = {line.get_label(): line.get_xydata() for line in panel.lines}
    label = "pathwise: \N{MINUS SIGN}0.500 (\N{MINUS SIGN}0.5"
    (points,) = (xy for name, xy in drawn.items() if name.startswith(label))
    np.testing.assert_allclose(points, [[1, 0.1], [10, 0.1 / 10**0.5], [100, 0.01]])
    np.testing.assert_allclose(drawn["_not fitted"], [[1, 0.1]])
    x, y = drawn["_theory"].T
    np.testing.assert_allclose(y, 0.1 * x**-0.5)
    assert panel.get_xscale() == panel.get_yscale() == "log"
    with pytest.raises(VaejaxError, match=r"unknown axis 'k'.*num_outer"):
        plotting.scaling_laws(rows, slopes, "k")
    with pytest.raises(VaejaxError, match="no rows to draw"):
        plotting.scaling_laws(
            [dataclasses.replace(rows[0], snr=math.nan)], [], "num_samples"
        )
