"""A refused command leaves no trace, whatever the experiment and the folder.

Every module of `experiments` with a `Config` that has an `out` is one; a new one is
covered as soon as it has its smallest settings in `SMALLEST`.
"""

import dataclasses
import importlib
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
from experiments import cost, coverage, speed, train
from experiments.gallery.entries import ENTRIES
from experiments.harness import metric_rows, run_folder
from tests.killed_overwrites import files, write_old
from tests.toy_experiment import Config as OtherConfig
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

pytestmark = pytest.mark.slow

TRAINING = {
    "dataset": "digits",
    "model_settings": ("latent_dim=2", "hidden=8"),
    "batch_size": 1438,
    "epochs": 1,
    "eval_num_samples": 2,
    "eval_examples": 20,
}
SMALLEST: dict[str, dict[str, Any]] = {
    "advise": {"pool": 4, "batch_size": (2,), "num_samples": (2,)},
    "bound_tightness": {"bounds": ("elbo",), "num_samples": (1,), "num_examples": 1},
    "cost": {
        **{"num_samples": (1,), "batch_size": (), "width": (), "num_seeds": ()},
        **{"latent_dim": (), "num_examples": ()},
        **{"estimators": ("pathwise",), "base": (1, 1, 4), "rounds": 1},
    },
    "coverage": {"seeds": 2, "draws": 20},
    "demo": {"epochs": 1, "eval_num_samples": 2, "draws": 40},
    "estimator_variance": {"num_samples": (1,), "draws": 40},
    "gallery.__main__": {"systems": ("vae",)},
    "precision": {"checkpoint": Path("trained"), "num_samples": 2},
    "replay": {"checkpoint": Path("trained"), "num_samples": (1,), "draws": 40},
    "runs": {"compare": (Path("trained"),)},
    "snr_vs_k": {
        **{"estimators": ("pathwise",), "num_samples": (1,), "num_outer": (1,)},
        **{"draws": 40, "batch_size": 1},
    },
    "speed": {"num_samples": (1,), "rounds": 1},
    "view": {"checkpoint": Path("trained"), "num_samples": 2, "examples": 5},
    "sweep": {"experiment": "tests.toy_experiment", "grid": ("size=1",)},
    "train": TRAINING,
}


def experiments_found() -> dict[str, Any]:
    """The modules with a Config that has an out, a folder of a run."""
    found = {}
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    for name in (*names, "gallery.__main__"):
        module = importlib.import_module(f"experiments.{name}")
        config = getattr(module, "Config", None)
        homes = (module.__name__, "experiments.training.config")
        is_own = getattr(config, "__module__", None) in homes and hasattr(module, "run")
        makes_run = "out" in getattr(config, "__dataclass_fields__", ())
        # `apply` and `export` write files.
        if is_own and makes_run and name not in ("apply", "export"):
            found[name] = module
    return found


EXPERIMENTS = experiments_found()


def test_every_experiment_is_here():
    assert EXPERIMENTS.keys() == SMALLEST.keys()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setattr(train.report, "draw", lambda *_: {})
    out = tmp_path_factory.mktemp("trained") / "run"
    train.run(train.Config(**TRAINING, snapshot_epochs=1, out=out))
    patch.undo()
    return out


@pytest.fixture
def config_of(trained, monkeypatch) -> Callable[..., Any]:
    """The smallest run of an experiment; what it would need from outside is made up."""
    digits = train.Config(**TRAINING)
    entry = dataclasses.replace(ENTRIES["vae"], presets={"short": {"vae": digits}})
    monkeypatch.setitem(ENTRIES, "vae", entry)
    monkeypatch.setattr(coverage, "regimes", dict)
    image = np.zeros((1, 28, 28, 1), np.uint8)
    monkeypatch.setattr(speed, "_images", lambda config: (image, image))

    def make(name: str, out: Path, **flags: bool) -> Any:
        settings = {
            key: trained if value == Path("trained") else value
            for key, value in SMALLEST[name].items()
        }
        if name == "runs":
            settings["compare"] = (trained,)
        return EXPERIMENTS[name].Config(**settings, **flags, out=out)

    return make


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_refused_command_leaves_no_trace(name, config_of, tmp_path, monkeypatch):
    """The command is refused as it writes the first file after its settings."""
    module, write = EXPERIMENTS[name], run_folder.write_text
    refused = []

    def refuse(path: Path, text: str) -> None:
        if path.name != "config.json":
            refused.append(path)
            raise VaejaxError("this cannot be")
        write(path, text)

    def run(config: Any) -> None:
        refused.clear()
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "write_text", refuse)
            with pytest.raises(VaejaxError, match="this cannot be"):
                module.run(config)
        assert refused

    run(config_of(name, tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()
    if name == "sweep":  # it adds to what is there
        return
    config = config_of(name, tmp_path / "old", overwrite=True)
    before = write_old(config.out, config)
    run(config)
    assert files(config.out) == before


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_run_of_another_experiment_is_left_alone(
    name, config_of, tmp_path, monkeypatch
):
    """--overwrite leaves it alone; commands that measure time refuse beforehand."""
    for module, first in ((speed, "_images"), (cost, "program_of")):
        monkeypatch.setattr(module, first, lambda *_: pytest.fail("it computes"))
    module, out = EXPERIMENTS[name], tmp_path / "run"
    before = write_old(out, OtherConfig())
    has_flag = "overwrite" in module.Config.__dataclass_fields__
    config = config_of(name, out, **({"overwrite": True} if has_flag else {}))
    with pytest.raises(VaejaxError, match=r"a run of another experiment.*--out"):
        module.run(config)
    assert files(out) == before


@pytest.mark.parametrize("gone", ["removed", "a file"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_lost_its_checkpoints_keeps_the_rest(
    gone, finished, trained, tmp_path
):
    """A resumed run would start anew, and write over its history, finished or not."""
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    shutil.rmtree(out / "checkpoints")
    if gone == "a file":
        (out / "checkpoints").write_text("")
    if not finished:
        (out / "results.json").unlink()
    before = files(out)
    config = train.Config(**TRAINING | {"epochs": 2}, resume=True, out=out)
    with pytest.raises(VaejaxError, match=r"metrics.jsonl.*no checkpoint to continue"):
        train.run(config)
    assert files(out) == before


def test_no_epoch_is_written_before_a_checkpoint_has_it(tmp_path, monkeypatch):
    """A run that is killed at any moment can then be resumed."""

    def append_row(out: Path, row: dict[str, Any]) -> None:
        assert checkpoints.latest(out / "checkpoints") == row["step"]
        raise VaejaxError("as if killed")

    monkeypatch.setattr(metric_rows, "append_row", append_row)
    with pytest.raises(VaejaxError, match="as if killed"):
        train.run(train.Config(**TRAINING | {"epochs": 2}, out=tmp_path))
