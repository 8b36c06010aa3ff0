"""The speed driver measures who runs, in turn, and names who does not."""

import csv
import dataclasses
import json
import math
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import speed
from experiments.harness.journal import Journal
from experiments.performance import speed_field
from experiments.performance.peers import contestants
from experiments.performance.speed_report import flops_per_image, summarize, target_rows
from vaejax.core import VaejaxError

STUB = """
import sys, time
sys.path.insert(0, {peers!r})
import protocol

class Stub:
    done = 0

    def train(self, num_samples, batch_size, steps):
        time.sleep(steps * {seconds_per_step})
        print("noise that must not reach the driver")
        self.done += 1
        return 1.0

    def evaluate(self, num_samples, num_images):
        {evaluate}
        return self.done

protocol.serve(Stub(), packages=("numpy",))
"""


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Contestants that sleep: vaejax 1 ms a step, torch 4 ms, numpyro breaks."""
    scripts = {}
    for name, seconds_per_step, evaluate in (
        ("vaejax", 1e-3, "time.sleep(0.02)"),
        ("torch", 4e-3, "time.sleep(0.02)"),
        ("numpyro", 1e-3, "raise ValueError('no such distribution')"),
    ):
        script = tmp_path / f"{name}.py"
        script.write_text(
            textwrap.dedent(STUB).format(
                peers=str(contestants.PEERS),
                seconds_per_step=seconds_per_step,
                evaluate=evaluate,
            )
        )
        scripts[name] = (str(script),)
    absent = dict.fromkeys(("loop", "torch_compile"), ("x.py",))
    monkeypatch.setattr(contestants, "SCRIPTS", scripts | absent)
    few = np.zeros((50, 28, 28, 1), np.uint8)  # not read by stubs
    monkeypatch.setattr(speed, "_images", lambda config: (few, few))
    monkeypatch.setattr(speed_field, "sgemm_flops_per_second", lambda seconds: 1e12)


def config(tmp_path, **more):
    return speed.Config(
        peers=(
            f"torch={sys.executable}",
            f"numpyro={sys.executable}",
            f"torch_compile={tmp_path / 'no_such_python'}",
        ),
        num_samples=(1,),
        rounds=2,
        seconds=0.1,
        out=tmp_path / "out",
        **more,
    )


def test_driver_reports_all_figures_and_who_did_not_run(stubs, tmp_path):
    results = speed.run(config(tmp_path)).summary
    ours, torch = (results["summary"]["train K=1"][n] for n in ("vaejax", "torch"))
    assert 2.5 < torch["ratio"] < 5.5
    assert torch["first_value"] == 1
    for figures in (ours, torch):
        assert 0 < figures["first_seconds"] < figures["start_seconds"]
        assert figures["peak_megabytes"] > 5
    assert "first_seconds_cached" in ours.keys() - torch.keys()
    assert results["not_run"].keys() == {"loop", "numpyro", "torch_compile"}
    assert "no such distribution" in results["not_run"]["numpyro"]
    assert "numpyro" not in results["summary"]["evaluate S=5000"]
    assert results["target"] is None
    out = tmp_path / "out"
    assert json.loads((out / "results.json").read_text()) == results
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["work"], row["contestant"]) for row in rows] == [
        ("train K=1", "vaejax"),
        ("train K=1", "torch"),
        ("evaluate S=5000", "vaejax"),
        ("evaluate S=5000", "torch"),
    ]
    assert float(rows[1]["ratio"]) == torch["ratio"]


def test_the_device_check_compares_number_formats_and_seeds(tmp_path, monkeypatch):
    few = speed._blobs(20, seed=0)
    monkeypatch.setattr(speed, "_images", lambda config: (few, few))
    monkeypatch.setattr(speed_field, "sgemm_flops_per_second", lambda seconds: 1e12)
    sizes = {"num_samples": (1,), "eval_num_samples": 2, "batch_size": 10}
    results = speed.run(
        speed.Config(
            **sizes, device_check=True, rounds=1, seconds=0.01, out=tmp_path / "run"
        )
    ).summary
    assert results["not_run"].keys() == {"tensorfloat32"}
    assert "a number format of GPUs" in results["not_run"]["tensorfloat32"]
    assert results["machine"]["device"] == jax.devices()[0].device_kind
    for rows in results["summary"].values():
        assert list(rows) == ["vaejax", "bfloat16", "8_seeds"]
        ours, rounded, seeds = (row["first_value"] for row in rows.values())
        assert rounded == pytest.approx(ours, rel=0.01)
        assert rounded != ours
        assert seeds == pytest.approx(ours, rel=0.05)


def test_a_peer_that_does_not_answer_in_time_is_left_out(stubs, tmp_path):
    name = contestants.SCRIPTS["torch"][0]
    script = Path(name)
    script.write_text(script.read_text().replace("time.sleep(0.02)", "time.sleep(99)"))
    results = speed.run(config(tmp_path, peer_seconds=10.0)).summary
    assert results["not_run"]["torch"] == (
        "torch gave no answer within 10 s: use a larger --peer-seconds, or leave it "
        "out of --peers"
    )
    assert results["summary"]["evaluate S=5000"].keys() == {"vaejax"}


def test_a_peer_that_is_too_slow_does_not_lose_what_the_others_did(
    stubs, tmp_path, monkeypatch
):
    """The peer is interrupted in round two, and left out in the third command."""
    asked, ask = [], contestants.Contestant.ask

    def interrupted(self, command):
        asked.append((self.name, command["work"]))
        if asked.count(("torch", "evaluate")) == 5:
            raise KeyboardInterrupt
        return ask(self, command)

    begun = config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(contestants.Contestant, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt, match="with --resume continues"):
            speed.run(begun)
    (first, second) = (
        Journal(begun.out).read((number, "train K=1"), "answers") for number in (1, 2)
    )
    assert first.keys() == {"vaejax", "torch", "numpyro"}  # it breaks in evaluation
    assert second.keys() == {"vaejax", "torch"}
    rest = dataclasses.replace(begun, peers=(), resume=True)
    results = speed.run(rest).summary
    assert [r["works"]["train K=1"] for r in results["rounds"]] == [first, second]
    assert results["summary"]["train K=1"].keys() == {"vaejax", "torch"}
    assert results["summary"]["evaluate S=5000"].keys() == {"vaejax"}
    fresh = "no such distribution"  # the reason of one that had failed before is kept
    assert fresh in results["not_run"]["numpyro"]


def test_the_race_ends_at_the_target_or_when_the_time_is_over(stubs, tmp_path, capsys):
    """A stub's log-likelihood goes up by 1 with every training command."""
    commands = contestants.parse_peers((f"torch={sys.executable}",), tmp_path)
    field = speed_field.Field(commands, tmp_path / "logs", tmp_path, Journal(tmp_path))
    train = speed.train_work(1, batch_size=10).of_length(20)
    evaluate = speed.evaluate_work(100, 50).of_length(50)

    def race(target, max_seconds):
        found = field.race(train, evaluate, target, max_seconds)
        rows = {row["contestant"]: row for row in target_rows(found)}
        return found["curves"], rows

    curves, rows = race(3, 100)
    assert [p["log_likelihood"] for p in curves["torch"]] == [1, 2, 3]
    for name in ("vaejax", "torch"):
        assert rows[name]["target_seconds"] == curves[name][-1]["seconds"]
    assert rows["vaejax"]["target_seconds"] < rows["torch"]["target_seconds"]
    curves, rows = race(math.inf, 0.1)
    assert 1 <= len(curves["torch"]) <= 2 <= len(curves["vaejax"])
    assert rows["torch"]["target_seconds"] is None


def test_what_fails_in_a_fresh_process_leaves_the_field(stubs, tmp_path):
    commands = contestants.parse_peers((f"numpyro={sys.executable}",), tmp_path)
    field = speed_field.Field(commands, tmp_path / "logs", tmp_path, Journal(tmp_path))
    works = [speed.evaluate_work(100, 50), speed.train_work(1, batch_size=10)]
    fresh = field.start_anew(works)
    assert [list(found) for found in fresh.values()] == [["vaejax"], ["vaejax"]]
    assert field.not_run.keys() == {"loop", "numpyro"}


def test_ratio_is_the_median_of_ratios_within_rounds():
    work = speed.train_work(1, batch_size=100)

    def measured(ours, theirs):
        speeds = {"vaejax": ours, "torch": theirs}
        answers = {name: {"images_per_second": s} for name, s in speeds.items()}
        return {"works": {work.name: answers}, "sgemm": 1e12}

    rounds = [measured(200, 100), measured(30, 10), measured(8, 1)]
    values = {work.name: {"vaejax": 1.0, "torch": 1.0}}
    torch = summarize([work], rounds, {work.name: {}}, values)[work.name]["torch"]
    assert (torch["ratio_min"], torch["ratio"], torch["ratio_max"]) == (2, 3, 8)
    flops = flops_per_image(work.command)
    assert torch["share_of_sgemm"] == 10 * flops / 1e12
    assert torch["gigaflops"] == pytest.approx(10 * flops / 1e9)


def test_flops_are_those_of_the_paper_network():
    evaluate = {"work": "evaluate", "num_samples": 1}
    assert flops_per_image(evaluate) == pytest.approx(0.434e6 + 0.414e6, rel=1e-2)
    assert flops_per_image(evaluate | {"work": "train"}) == 3 * flops_per_image(
        evaluate
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": ()}, "at least one K"),
        ({"num_samples": (1, 0)}, "--num-samples is .*an integer"),
        ({"rounds": 0}, "rounds is 0"),
        ({"seconds": 0.0}, "--seconds is 0.0: use a number"),
        ({"target_log_likelihood": -90.0}, "add --dataset mnist"),
        ({"dataset": "digits"}, "28 x 28.*use --dataset mnist"),
        ({"peers": ("pyro=python",)}, "unknown peer 'pyro'.*numpyro"),
        ({"peers": ("torch",)}, "--peers is 'torch': write NAME=PYTHON"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    settings, message, tmp_path
):
    with pytest.raises(VaejaxError, match=message):
        speed.run(speed.Config(**settings, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
