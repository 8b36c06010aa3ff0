"""The study of coverage: its truths are true, and it finds intervals that are wrong."""

import csv

import jax
import numpy as np
import pytest
from scipy.stats import binom

from experiments import coverage
from experiments.benchmark import coverage_regimes, planted_gradients
from vaejax.core import VaejaxError

SEEDS = 60
NAMES = ("bias of 2 sd, 1 parameters", "dreg, iwae", "lognormal, 1 of the draws, 5 p")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    makers = coverage_regimes.regimes()
    chosen = {n: m for n, m in makers.items() if n.startswith(NAMES)}
    assert len(chosen) == len(NAMES) + 1  # with the drawn reference
    config = coverage.Config(
        seeds=SEEDS, draws=400, out=tmp_path_factory.mktemp("coverage") / "run"
    )
    return coverage.run(config, chosen)


def test_intervals_hold_the_truth_or_are_marked(results):
    """Intervals cover as often as 90% ones; each has a chance of 1e-4 to fail."""
    least = binom.ppf(1e-4, SEEDS, 0.9) / SEEDS
    counted = [row for row in results.rows if row.statistic != coverage.PLUG_IN]
    for row in counted:
        if row.kind == "heavy tails":
            assert row.marked, row
        else:
            assert not row.marked, row
            assert row.covered >= least, row
    kinds = {row.kind for row in counted}
    assert kinds == {"weak bias", "heavy tails", "estimators"}
    heavy = [row.covered for row in counted if row.kind == "heavy tails"]
    # What is marked is worth a mark; a cosine may be given by none.
    assert np.nanmin(heavy) < 0.9


def test_what_is_written_is_what_was_found(results):
    with (results.out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results.rows)
    assert float(rows[0]["covered"]) == results.rows[0].covered
    assert (results.out / "coverage.pdf").stat().st_size > 1000


@pytest.mark.parametrize("law", list(planted_gradients.LAWS))
@pytest.mark.parametrize("size", [1, 5])
def test_the_truths_of_planted_draws_are_those_of_many(law, size):
    """200,000 draws agree in z-scores; another law's truths, the control, do not."""
    mean, scale = np.linspace(0.3, 0.0, size), np.geomspace(1.0, 2.0, size)
    noise = planted_gradients.LAWS[law].sample(jax.random.key(0), (200_000, size))
    draws = mean + scale * np.asarray(noise, float)
    along, across = draws[:, 0], np.linalg.norm(draws[:, 1:], axis=1)
    values = {"draw_cosine": along / np.hypot(along, across)}
    if size > 3:
        values["directional_snr"] = np.abs(along) / across
    distances = {}
    for other, known in planted_gradients.LAWS.items():
        truths = planted_gradients.of_draws(known, mean, scale)
        assert truths.keys() == values.keys()
        distances[other] = max(
            abs(of.mean() - truths[name]) / (of.std() / np.sqrt(len(of)))
            for name, of in values.items()
        )
    assert distances.pop(law) < 4
    assert min(distances.values()) > 4


def test_intervals_that_are_too_short_are_found():
    draws = np.random.default_rng(0).normal(size=200)
    for half, passes in ((1.96, True), (1.0, False)):
        ends = np.stack([draws - half, draws + half], 1)
        held = coverage.held_against(0.0, draws, ends)
        assert coverage.within(row_of(held)) == passes
        assert held["given"] == 1
        assert held["covered"] == np.mean(np.abs(draws) <= half)
        assert held["low"] < held["covered"] < held["high"]


def test_intervals_that_are_not_given_are_left_out():
    ends = np.array([[-1.0, 1.0], [np.nan, np.nan], [2.0, 3.0], [-np.inf, 1.0]])
    held = coverage.held_against(0.0, ends.mean(1), ends)
    assert (held["given"], held["covered"]) == (0.5, 0.5)
    nothing = coverage.held_against(0.0, np.full(4, np.nan), np.full((4, 2), np.nan))
    assert nothing == {"given": 0}
    assert not coverage.within(row_of(nothing))


def row_of(held: dict[str, float]) -> coverage.CoverageRow:
    place = {"kind": "weak bias", "regime": "x", "draws": 200, "statistic": "snr"}
    return coverage.CoverageRow(**place, truth=0.0, safe=1.0, marked=False, **held)


def test_a_killed_study_goes_on_with_the_regimes_that_are_missing(
    results, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    config = coverage.Config(seeds=2, draws=40, out=out)
    makers = {
        n: m for n, m in coverage_regimes.regimes().items() if n[:8] == "10 draws"
    }
    whole = coverage.run(config, makers)
    (out / "results.json").unlink()
    lines = (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (out / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    measured, measure = [], coverage.measure
    monkeypatch.setattr(
        coverage, "measure", lambda *a: measured.append(a[1].name) or measure(*a)
    )
    again = coverage.run(
        coverage.Config(seeds=2, draws=40, out=out, resume=True), makers
    )
    assert measured == ["10 draws, 50 parameters"]
    assert again.rows == whole.rows


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", 1, "--seeds is 1.*integer from 2"),
        ("draws", 7, "7 draws cannot be split"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, field, value, message):
    with pytest.raises(VaejaxError, match=message):
        coverage.run(coverage.Config(**{field: value}, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_interrupt_after_a_regime_says_that_resume_goes_on(tmp_path, monkeypatch):
    calls = []

    def measure(config, regime):
        calls.append(regime)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(coverage, "measure", measure)
    config = coverage.Config(out=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt, match="with --resume continues from there"):
        coverage.run(config)
