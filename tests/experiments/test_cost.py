"""Reports on growing work: the line, where it is left, and the figure of both."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments import cost
from experiments.harness.journal import Journal
from experiments.performance.cost_report import fit_line, num_weights, with_lines
from vaejax import plotting
from vaejax.core import VaejaxError
from vaejax.models import gaussian_mlp

pytestmark = pytest.mark.slow


def curve(axis, value, seconds, work="training step"):
    return [
        {
            "work": work,
            "axis": axis,
            "value": v,
            "seconds_per_image": s,
            "processor_seconds_per_image": None,
            "peak_bytes": 1000 * v,
        }
        for v, s in zip(value, seconds, strict=True)
    ]


def test_the_line_is_found_at_every_scale():
    x = np.array([1.0, 10, 100, 1000])
    assert fit_line(x, 2e-3 + 5e-6 * x) == pytest.approx((2e-3, 5e-6))
    assert fit_line(x, 3 * x) == pytest.approx((0, 3), abs=1e-9)
    assert fit_line(x, np.full(4, 7.0)) == pytest.approx((7, 0), abs=1e-9)


def test_the_first_point_off_the_line_is_named():
    value = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    seconds = 1e-3 + 1e-4 * value
    rows, (finding, memory) = with_lines(curve("num_samples", value, seconds))
    assert "1e+03 us per image + 100 us per sample" in finding
    assert "the first part is the larger up to num_samples = 10)" in finding
    assert finding.endswith("linear throughout, num_samples = 1 to 1000")
    assert memory.startswith("memory of training step against num_samples: ")
    assert memory.endswith("+ 0.001 MB per sample; " + finding.partition("; ")[2])
    assert not any(row["off_seconds_per_image"] for row in rows)
    seconds[-1] *= 3  # out of the cache, say
    rows, (finding, _) = with_lines(curve("num_samples", value, seconds))
    assert "leaves this line at num_samples = 1000, with " in finding
    assert [row["off_seconds_per_image"] for row in rows] == [False] * 9 + [True]


@pytest.mark.parametrize("axis", ["batch_size", "num_seeds"])
def test_the_line_of_a_number_of_images_is_of_the_time_of_all(axis):
    value = np.array([1, 10, 100])
    rows, (finding, _) = with_lines(curve(axis, value, (8e-3 + 2e-3 * value) / value))
    assert "8e+03 us per batch + 2e+03 us per " in finding
    assert "linear throughout" in finding
    assert rows[0]["line_seconds_per_image"] == pytest.approx(1e-2)


def test_the_line_of_the_width_is_in_the_number_of_weights():
    width = np.array([10, 100, 1000])
    _, (finding, _) = with_lines(curve("width", width, 1e-9 * num_weights(width)))
    assert "0.001 us per weight; linear throughout" in finding
    network = gaussian_mlp(hidden=(10, 10)).init(jax.random.key(0))
    kernels = [x for x in jax.tree.leaves(network) if x.ndim == 2]
    assert num_weights(np.array(10)) == sum(kernel.size for kernel in kernels)


def test_the_line_of_the_devices_divides_the_work():
    devices = np.array([1, 2, 4])
    _, (finding, _) = with_lines(curve("num_devices", devices, 1e-3 + 8e-3 / devices))
    assert "1e+03 us per image + 8e+03 us over the number of devices" in finding
    assert finding.endswith("linear throughout, num_devices = 1 to 4")


def test_a_run_writes_every_curve_and_its_figures(tmp_path):
    config = cost.Config(
        num_samples=(1, 3),
        batch_size=(),
        width=(),
        latent_dim=(),
        num_seeds=(1, 2),
        num_devices=(1,),
        num_examples=(2, 400),
        bound="elbo",
        estimators=("pathwise", "score_function"),
        base=(2, 2, 4),
        rounds=2,
        seconds=1e-3,
        out=tmp_path / "run",
    )
    results = cost.run(config)
    rows = list(csv.DictReader((config.out / "results.csv").read_text().splitlines()))
    curves = [(row["work"], row["axis"], row["value"]) for row in rows]
    assert curves == [(r["work"], r["axis"], str(r["value"])) for r in results.rows]
    assert len(set(curves)) == 13
    for row in rows:
        fastest, median, slowest = (
            float(row[name]) for name in ("fastest", "seconds_per_image", "slowest")
        )
        assert 0 < fastest <= median <= slowest
        assert float(row["processor_seconds_per_image"]) > 0
        assert bool(row["peak_bytes"]) == (row["work"] == "training step")
    seeds = [int(r["peak_bytes"]) for r in rows if r["axis"] == "num_seeds"]
    assert seeds[1] > 1.5 * seeds[0]
    stored = [int(r["peak_bytes"]) for r in rows if r["axis"] == "num_examples"]
    assert stored[1] - stored[0] == 398 * 28 * 28 * 4
    saved = json.loads((config.out / "results.json").read_text())
    assert saved["findings"] == results.findings
    assert len(results.findings) == 13
    journal = Journal(config.out)
    taken = np.array([journal.read((number,), "seconds") for number in range(2)])
    assert "score_function takes " in results.findings[-2]
    assert "drawn and summed up at " in results.findings[-1]
    times = float(results.findings[-2].split("takes ")[1].split()[0])
    ratio = np.median(taken[:, -2, 0] / taken[:, -3, 0])
    assert times == pytest.approx(ratio, abs=1e-3)
    for name in ("seconds_per_image", "processor_seconds_per_image", "peak_bytes"):
        assert (config.out / "figures" / f"{name}.png").stat().st_size > 1000


def test_rounds_that_are_done_are_kept(tmp_path, monkeypatch):
    config = cost.Config(
        **{"num_samples": (1, 3), "batch_size": (), "width": (), "num_seeds": ()},
        **{"latent_dim": (), "num_examples": ()},
        **{"bound": "elbo", "estimators": ("pathwise",), "base": (1, 1, 4)},
        **{"rounds": 3, "out": tmp_path / "run"},
    )
    compiled, calls = [], []

    def measure(program, seconds):
        calls.append(seconds)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return float(len(calls)), 0.5

    def compile_(makers):
        compiled.append(len(makers))
        return [cost.Program(lambda: None, 1, 7)] * len(makers)

    monkeypatch.setattr(cost, "_times_per_image", measure)
    monkeypatch.setattr(cost, "_compiled", compile_)
    with pytest.raises(KeyboardInterrupt, match="with --resume continues"):
        cost.run(config)
    rows = cost.run(dataclasses.replace(config, resume=True)).rows
    # The second round, cut short at its third point, is measured again.
    assert len(calls) == 6 + 3 + 2 * 6
    assert [row["fastest"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["slowest"] for row in rows] == [16, 17, 18, 19, 20, 21]
    (config.out / "results.json").unlink()
    again = cost.run(dataclasses.replace(config, resume=True))
    assert again.rows == rows
    assert compiled == [6, 6]  # nothing was left to measure


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": (1, 0)}, r"--num-samples is \(1, 0\): use at most 100"),
        ({"num_devices": (3,)}, "100 examples cannot be divided over 3 of "),
        ({"base": (5, 0, 10)}, "--base is .*an integer"),
        ({"rounds": 0}, "rounds is 0"),
        ({"seconds": 0.0}, "--seconds is 0.0: use a number"),
        ({"bound": "nope"}, "unknown bound 'nope'.*iwae"),
        ({"estimators": ("rloo",)}, "rloo refuses iwae"),
        ({"estimators": ()}, "at least one estimator"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    settings, message, tmp_path
):
    with pytest.raises(VaejaxError, match=message):
        cost.run(cost.Config(**settings, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_figure_shows_points_and_lines_and_what_is_off():
    value = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    seconds = 1e-3 + 1e-4 * value
    seconds[-1] *= 3
    rows, _ = with_lines(
        curve("num_samples", value, seconds)
        + curve("num_samples", value, 2 * seconds, "evaluation")
        + curve("width", value, seconds)
    )
    figure = plotting.cost_curves(rows, "seconds_per_image")
    samples, width = figure.axes
    assert samples.get_xscale() == samples.get_yscale() == "log"
    drawn = {line.get_label(): line.get_xydata() for line in samples.lines}
    assert drawn["training step"].tolist() == np.stack([value, seconds], 1).tolist()
    assert drawn["evaluation"][:, 1].tolist() == (2 * seconds).tolist()
    assert drawn["_off"].tolist() == [[1000, 2 * seconds[-1]]]
    assert width.get_xlabel() == "width"
    memory, _ = plotting.cost_curves(rows, "peak_bytes").axes
    lines = {line.get_label(): line.get_xydata() for line in memory.lines}
    assert lines["_line"][:, 1] == pytest.approx(1000 * value)
    assert not len(lines["_off"])
    with pytest.raises(VaejaxError, match=r"unknown quantity 'flops'.*peak_bytes"):
        plotting.cost_curves(rows, "flops")
    with pytest.raises(VaejaxError, match="no rows to draw"):
        plotting.cost_curves([rows[0] | {"peak_bytes": None}], "peak_bytes")
