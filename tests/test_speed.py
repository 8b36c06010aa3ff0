"""The speed driver measures who runs, in turn, and names who does not."""

import json
import sys
import textwrap

import pytest
from rich.console import Console

from benchmarks import contestants, speed
from benchmarks.summary import flops_per_image, summarize

STUB = """
import sys, time
sys.path.insert(0, {peers!r})
import protocol

class Stub:
    def train(self, num_samples, batch_size, steps):
        time.sleep(steps * {seconds_per_step})
        print("noise that must not reach the driver")
        return 1.0

    def evaluate(self, num_samples, num_images):
        {evaluate}
        return -1.0

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
    monkeypatch.setattr(contestants, "SCRIPTS", scripts | {"torch_compile": ("x.py",)})


def test_driver_reports_ratios_and_who_did_not_run(stubs, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "sgemm_flops_per_second", lambda seconds: 1e12)
    config = speed.Config(
        peers=(
            f"torch={sys.executable}",
            f"numpyro={sys.executable}",
            f"torch_compile={tmp_path / 'no_such_python'}",
        ),
        num_samples=(1,),
        rounds=2,
        seconds=0.1,
        data=tmp_path / "not_read_by_stubs.npy",
        out=tmp_path / "out",
    )
    results = speed.run(config, Console(quiet=True))
    assert 2.5 < results["summary"]["train K=1"]["torch"]["ratio"] < 5.5
    assert results["not_run"].keys() == {"numpyro", "torch_compile"}
    assert "no such distribution" in results["not_run"]["numpyro"]
    assert "numpyro" not in results["summary"]["evaluate S=5000"]
    assert json.loads((config.out / "results.json").read_text()) == results


def test_ratio_is_the_median_of_ratios_within_rounds():
    work = speed.works_of(speed.Config(num_samples=(1,)))[0]

    def measured(ours, theirs):
        speeds = {"vaejax": ours, "torch": theirs}
        answers = {name: {"images_per_second": s} for name, s in speeds.items()}
        return {"works": {work.name: answers}, "sgemm": 1e12}

    rounds = [measured(200, 100), measured(30, 10), measured(8, 1)]
    torch = summarize([work], rounds)[work.name]["torch"]
    assert (torch["ratio_min"], torch["ratio"], torch["ratio_max"]) == (2, 3, 8)
    assert torch["share"] == 10 * flops_per_image(work.command) / 1e12


def test_flops_are_those_of_the_paper_network():
    evaluate = {"work": "evaluate", "num_samples": 1}
    assert flops_per_image(evaluate) == pytest.approx(0.434e6 + 0.414e6, rel=1e-2)
    assert flops_per_image(evaluate | {"work": "train"}) == 3 * flops_per_image(
        evaluate
    )


def test_an_unknown_peer_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(contestants.UnknownNameError, match="numpyro"):
        contestants.parse_peers(("pyro=python",), tmp_path)
