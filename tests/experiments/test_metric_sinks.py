"""The metrics that TensorBoard, Weights & Biases and MLflow get, read back."""

import dataclasses
import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tiny_run import tiny

from experiments import train
from experiments.harness import metric_rows
from experiments.harness.result_table import numbers_of
from experiments.training import sinks
from experiments.training.load import load_trained
from experiments.training.sinks import Observed, watching
from vaejax.core import VaejaxError

K = 3


def two_epochs(out: Path, **more: Any) -> train.Config:
    return tiny(out, bound="iwae", num_samples=K, epochs=2, select="validation", **more)


def fake_wandb(calls: list[tuple[str, Any]]) -> Any:
    """The part of wandb that is used, as documented; it notes what it is told."""
    run = SimpleNamespace(
        id="its-id",
        log=lambda row, step: calls.append(("log", (step, row))),
        finish=lambda: calls.append(("finish", None)),
    )

    def init(**settings: Any) -> Any:
        calls.append(("init", settings))
        return run

    return SimpleNamespace(
        init=init,
        Histogram=lambda values: ("histogram", values),
        Image=lambda image: ("image", image),
    )


def fake_mlflow(calls: list[tuple[str, Any]]) -> Any:
    """The part of mlflow that is used, as documented; it notes what it is told."""

    def start_run(**settings: Any) -> Any:
        calls.append(("start", settings))
        return SimpleNamespace(info=SimpleNamespace(run_id="its-run"))

    return SimpleNamespace(
        set_experiment=lambda name: calls.append(("experiment", name)),
        start_run=start_run,
        log_params=lambda params: calls.append(("params", params)),
        log_metrics=lambda row, step: calls.append(("metrics", (step, row))),
        end_run=lambda: calls.append(("end", None)),
    )


@dataclasses.dataclass
class Watched:
    results: train.Results
    wandb: list[tuple[str, Any]]
    mlflow: list[tuple[str, Any]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Watched]:
    """A training that all three watch."""
    out = tmp_path_factory.mktemp("watched") / "run"
    wandb: list[tuple[str, Any]] = []
    mlflow: list[tuple[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", fake_wandb(wandb))
        patch.setitem(sys.modules, "mlflow", fake_mlflow(mlflow))
        patch.setattr(train.report, "draw", lambda *_: {})
        config = two_epochs(
            out, tensorboard=True, wandb="my-project", mlflow="my-experiment"
        )
        yield Watched(train.run(config), wandb, mlflow)


def events(folder: Path) -> list[Event]:
    """All records of the folder's event files: length, checksum, event, checksum."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        file = io.BytesIO(path.read_bytes())
        while header := file.read(12):
            (length,) = struct.unpack("<Q4x", header)
            found.append(Event.FromString(file.read(length)))
            file.read(4)
    return found


def tensorboard_values(folder: Path) -> dict[str, dict[int, Any]]:
    """Every tag's values by step."""
    found: dict[str, dict[int, Any]] = {}
    for event in events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value
    return found


def rows_by_step(out: Path) -> dict[int, dict[str, float]]:
    return {
        row["step"]: {n.replace(".", "/"): v for n, v in numbers_of(row).items()}
        for row in metric_rows.read_rows(out)
    }


def test_tensorboard_has_every_number_of_every_row(watched):
    out = watched.results.out
    values = tensorboard_values(out / "tensorboard")
    rows = rows_by_step(out)
    assert list(rows) == [13, 26]
    for step, row in rows.items():
        for name, number in row.items():
            assert values[name][step].simple_value == pytest.approx(number)
    assert {"train/bound", "validation/kl", "images_per_second"} < values.keys()


def test_tensorboard_has_histograms_of_every_weight_and_of_the_log_weights(watched):
    values = tensorboard_values(watched.results.out / "tensorboard")
    params = watched.results.params
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        name = "weights/" + jax.tree_util.keystr(path, simple=True, separator="/")
        histogram = values[name][26].histo
        assert histogram.num == leaf.size
        assert histogram.min == pytest.approx(float(leaf.min()))
        assert histogram.sum == pytest.approx(float(leaf.sum()), rel=1e-4, abs=1e-5)
    assert len([name for name in values if name.startswith("weights/")]) == len(leaves)
    log_weights = values["validation/log_weights"][26].histo
    assert log_weights.num == 100 * K
    mean = log_weights.sum / log_weights.num  # of log w: the ELBO, below the IWAE bound
    assert abs(mean - values["validation/bound"][26].simple_value) < 2


def test_tensorboard_has_validation_images_above_their_reconstructions(watched):
    values = tensorboard_values(watched.results.out / "tensorboard")
    image = values["validation/reconstructions"][26].image
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert pixels.shape == (17, 89, 3)  # ten of 8 x 8, a gutter of one
    _, (params,) = trained = load_trained(watched.results.out)
    model, data = trained.model, trained.data
    originals, seen = pixels[:8, :8, 0] / 255, pixels[9:, :8, 0] / 255
    np.testing.assert_allclose(originals, data.validation.x[0, ..., 0], atol=1 / 255)
    mean = train.report.reconstruct(
        model, params, jax.tree.map(lambda leaf: leaf[:1], data.validation)
    )
    np.testing.assert_allclose(seen, mean[0, ..., 0], atol=1 / 255)
    before = values["validation/reconstructions"][13].image.encoded_image_string
    assert before != image.encoded_image_string


def test_weights_and_biases_gets_settings_rows_histograms_and_images(watched):
    (first, init), *logged, last = watched.wandb
    assert (first, last) == ("init", ("finish", None))
    assert init["project"] == "my-project"
    assert init["config"]["num_samples"] == K
    assert (init["id"], init["name"]) == (None, "run")
    assert [call for call, _ in logged] == ["log", "log"]
    for step, row in (told for _, told in logged):
        numbers = {n: v for n, v in row.items() if not isinstance(v, tuple)}
        assert numbers == rows_by_step(watched.results.out)[step]
        assert row["validation/log_weights"][0] == "histogram"
        assert row["validation/reconstructions"][1].dtype == np.uint8


def test_mlflow_gets_settings_and_rows(watched):
    names = [call for call, _ in watched.mlflow]
    assert names == ["experiment", "start", "params", "metrics", "metrics", "end"]
    told = dict(watched.mlflow[:3])
    assert told["experiment"] == "my-experiment"
    assert told["start"] == {"run_id": None, "run_name": "run"}
    assert told["params"]["bound"] == "iwae"
    assert dict(call for _, call in watched.mlflow[3:5]) == rows_by_step(
        watched.results.out
    )


def test_a_run_that_goes_on_is_the_same_run_to_its_trackers(watched, monkeypatch):
    wandb: list[tuple[str, Any]] = []
    mlflow: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(wandb))
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(mlflow))
    config = two_epochs(watched.results.out, wandb="my-project", mlflow="my-experiment")
    run = load_trained(watched.results.out).run
    with watching(dataclasses.replace(run, config=config)):
        pass
    assert (wandb[0][1]["id"], wandb[0][1]["resume"]) == ("its-id", "allow")
    assert mlflow[1] == ("start", {"run_id": "its-run", "run_name": "run"})


def test_tensorboard_forgets_the_steps_that_are_done_again(tmp_path):
    nothing = Observed({"bound": -1.0}, {}, {})
    for steps in ((15, 30, 45), (30, 45)):  # interrupted, and gone on with from 15
        sink = sinks._tensorboard(two_epochs(tmp_path, tensorboard=True))
        for step in steps:
            sink.write(step, nothing)
        sink.close()
    found = events(tmp_path / "tensorboard")
    starts = [e.step for e in found if e.session_log.status == SessionLog.START]
    assert starts == [15, 30]  # from which step on a reader drops what came before


def test_watching_changes_no_figure(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    unwatched = train.run(two_epochs(tmp_path / "run")).summary
    mine = watched.results.summary
    assert mine["test"]["log_likelihood"] == unwatched["test"]["log_likelihood"]
    assert mine["train"]["bound"] == unwatched["train"]["bound"]
    for name in ("tensorboard", "tracking.json"):
        assert not (tmp_path / "run" / name).exists()


@pytest.mark.parametrize(
    ("package", "asked", "extra"),
    [
        ("tensorboardX", {"tensorboard": True}, "watch"),
        ("wandb", {"wandb": "p"}, "wandb"),
        ("mlflow", {"mlflow": "e"}, "mlflow"),
    ],
)
def test_a_sink_that_is_not_installed_is_one_message_before_anything_is_computed(
    package, asked, extra, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"{package} is not installed: pip install -e '\.\[{extra}\]'"
    for call in (train.check, train.run):
        with pytest.raises(VaejaxError, match=message):
            call(two_epochs(tmp_path / "run", **asked))
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_start_is_one_message_and_the_others_end(
    watched, tmp_path, monkeypatch
):
    wandb: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(wandb))
    mlflow = fake_mlflow([])
    mlflow.set_experiment = lambda name: (_ for _ in ()).throw(ValueError("no server"))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    run = load_trained(watched.results.out).run
    config = two_epochs(tmp_path, wandb="p", mlflow="e")
    with (
        pytest.raises(VaejaxError, match=r"mlflow .*no server.*MLFLOW_TRACKING_URI"),
        watching(dataclasses.replace(run, config=config)),
    ):
        pass
    assert [call for call, _ in wandb] == ["init", "finish"]
