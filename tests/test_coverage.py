"""The study of coverage: it counts what it says, and finds intervals that are wrong."""

import csv

import numpy as np
import pytest
from scipy.stats import binom

from experiments import coverage
from vaejax.core import VaejaxError

REGIME = coverage.Regime("linear_gaussian", (), "iwae", "dreg", 4)
SEEDS = 60


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(coverage, "TRUTH_RUNS", 60)
    config = coverage.Config(
        seeds=SEEDS, draws=400, out=tmp_path_factory.mktemp("coverage") / "run"
    )
    yield coverage.run(config, regimes=(REGIME,))
    patch.undo()


def test_the_intervals_of_a_real_estimator_hold_the_truth(results):
    """At least as often as 90% intervals would: each has a chance of 1e-4 to fail."""
    least = binom.ppf(1e-4, SEEDS, 0.9) / SEEDS
    counted = [row for row in results.rows if row["statistic"] != coverage.PLUG_IN]
    assert {row["group"] for row in counted} == {"encoder", "decoder"}
    assert len(counted) == 2 * (len(coverage.STATISTICS) - 1)
    for row in counted:
        assert row["told"] == 1, row
        assert row["covered"] >= least, row
    truths = {(row["group"], row["statistic"]): row["truth"] for row in counted}
    assert truths["encoder", "bias"] == 0
    assert truths["encoder", "cosine"] == 1


def test_what_is_written_is_what_was_found(results):
    with (results.out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results.rows)
    assert float(rows[0]["covered"]) == results.rows[0]["covered"]
    assert (results.out / "coverage.pdf").stat().st_size > 1000


def test_intervals_that_are_too_short_are_found():
    draws = np.random.default_rng(0).normal(size=200)
    for half, passes in ((1.96, True), (1.0, False)):
        ends = np.stack([draws - half, draws + half], 1)
        row = coverage._held_against(0.0, np.nan, draws, ends)
        assert coverage.within(row) == passes
        assert row["covered"] == np.mean(np.abs(draws) <= half)
        assert row["low"] < row["covered"] < row["high"]


def test_intervals_that_are_not_told_are_left_out():
    ends = np.array([[-1.0, 1.0], [np.nan, np.nan], [2.0, 3.0], [-np.inf, 1.0]])
    row = coverage._held_against(0.0, np.nan, ends.mean(1), ends)
    assert (row["told"], row["covered"]) == (0.5, 0.5)
    unknown = coverage._held_against(None, np.nan, ends.mean(1), ends)
    assert unknown["covered"] is None
    assert not coverage.within(unknown)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("seeds", 1, "seeds is 1.*at least 2"), ("draws", 7, "7 draws cannot be split")],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, field, value, message):
    config = coverage.Config(**{field: value}, out=tmp_path / "run")
    with pytest.raises(VaejaxError, match=message):
        coverage.run(config)
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
    with pytest.raises(KeyboardInterrupt, match="with --resume goes on from there"):
        coverage.run(config)
