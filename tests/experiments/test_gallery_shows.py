"""Every system of the gallery shows what it is to, after two updates of tiny networks.

The data are synthetic. Trainings that differ in what changes no network, as in beta,
the noise or the estimator, are made once; loops of `show` are cut short.
"""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.gallery.entries import ENTRIES
from experiments.gallery.entry import Trained
from experiments.harness import metric_rows, run_folder, run_settings
from experiments.training.config import Config
from experiments.training.evaluate import final_figures
from experiments.training.run import prepare
from experiments.training.starting_point import starting_state
from vaejax.data import DATASETS, PROTOCOLS
from vaejax.data.datasets import sprites
from vaejax.data.types import DatasetInfo, ImageData
from vaejax.evaluation import log_normalizer
from vaejax.plotting import save
from vaejax.plotting.tables import render
from vaejax.training import checkpoints, make_step
from vaejax.training.step import gather

pytestmark = pytest.mark.slow

NO_TABLE = {"vae"}

COUNTS = {"train": 200, "validation": 40, "test": 60}  # examples
UPDATES = 2
WIDTH, WIDTHS = "8", ("hidden", "prior.hidden", "channels", "latent_dims")
LARGEST = {  # other settings, of models
    **dict.fromkeys(("latent_dim", "k", "pretraining_steps"), 2),
    **dict.fromkeys(("prior.num_components", "depth", "decoder_depth"), 1),
}
SYSTEMS, JUDGES, PICTURES = (
    f"experiments.gallery.{part}." for part in ("systems", "judges", "pictures")
)
SMALL: dict[str, dict[str, Any]] = {
    SYSTEMS + "aggregate_matching": {"CHOSEN_BY": 20, "TESTED": 30},
    SYSTEMS + "anomaly_detection": {"SAMPLES": 2},
    JUDGES + "classifier": {"EPOCHS": 1},
    SYSTEMS + "conditional_vae": {"JUDGED": 5},
    JUDGES + "few_labels": {"LABELS": (20,), "STEPS": 2},
    SYSTEMS + "implicit_optimal_prior": {"SIDE": 8, "SEEN": 20},
    SYSTEMS + "m2": {"STEPS": 2},
    SYSTEMS + "masked_autoencoder": {"RATIOS": (0.0, 0.75)},
    SYSTEMS + "restoration": {"SAMPLES": 4, "WARM_UP": 2, "DRAWS": 6, "MEASURED": 12},
    PICTURES + "score_field": {"STEPS": 5, "SIDE": 3, "TEST_POINTS": 20},
    SYSTEMS + "topic_model": {"PASSES": 1},
    SYSTEMS + "two_layer_iwae": {"REPEATS": 2, "DRAWS": 8, "OBSERVED": 2},
    "experiments.training.evaluate": {
        "log_normalizer": partial(log_normalizer, num_chains=10, num_steps=5)
    },
    "vaejax.models.vade": {"STARTS": 1},
}


def synthetic(info: DatasetInfo, split: str, folder: Path) -> ImageData:
    """Classes in turn, each one image with noise of its own; or random counts."""
    count, rng = COUNTS[split], np.random.default_rng(split == "test")
    if info.protocols == ("counts",):
        words = tuple(f"word{i}" for i in range(info.shape[0]))
        counts = rng.poisson(0.05, (count, *info.shape)).astype(np.uint16)
        return ImageData(counts, None, words=words)
    labels = np.arange(count, dtype=np.int32) % 10
    shares = np.random.default_rng(2).random((10, *info.shape))[labels]
    white = 1 if info.protocols == ("static",) else 255
    images = white * (rng.random(shares.shape) < 0.1 + 0.8 * shares)
    return ImageData(images.astype(np.uint8), labels)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, factory in list(DATASETS.items()):
        info = factory()
        own = dataclasses.replace(info, read=partial(synthetic, info))
        monkeypatch.setitem(DATASETS, name, lambda own=own: own)
    monkeypatch.setitem(
        DATASETS, "sprites", partial(sprites, COUNTS["train"], COUNTS["test"])
    )
    for module, constants in SMALL.items():
        for name, value in constants.items():
            monkeypatch.setattr(importlib.import_module(module), name, value)


def tiny(training: Config) -> Config:
    """One hidden layer; hierarchies have two, with one hidden layer between."""
    hierarchy = training.model in ("ladder_mlp", "hierarchical_mlp")

    def smaller(setting: str) -> str:
        name, equals, value = setting.partition("=")
        if name in WIDTHS:
            value = f"{WIDTH},{WIDTH}" if hierarchy else WIDTH
        elif name in LARGEST:
            value = str(min(int(value), LARGEST[name]))
        return name + equals + value

    settings = *map(smaller, training.model_settings), *["num_hidden=1"] * hierarchy
    return dataclasses.replace(
        training,
        model_settings=settings,
        regularizers=tuple(map(smaller, training.regularizers)),
        kl_weight=tuple(re.sub("epochs=.*", "epochs=1", s) for s in training.kl_weight),
        num_labels=training.num_labels and 20,
        epochs=1,
        batch_size=COUNTS["train"] // UPDATES,
        eval_num_samples=2,
        eval_examples=40,
    )


def of_same_networks(config: Config) -> Config:
    """The training that stands for this one."""
    settings = tuple(
        re.sub("^(level|l1)=.*", r"\1=0.5", s) for s in config.model_settings
    )
    config = dataclasses.replace(
        config, model_settings=settings, bound_settings=(), without_class=None, seed=0
    )
    if config.estimator not in ("pathwise", "stl", "dreg", "gdreg"):
        return config
    bound = config.bound.replace("iwae", "elbo")
    return dataclasses.replace(
        config, bound=bound, estimator="pathwise", allow_bias=False, num_samples=1
    )


def trained(config: Config, evaluated: bool) -> Trained:
    """Two updates, and of a run's files what the gallery reads."""
    run = prepare(config)
    state = starting_state(run)
    observe = PROTOCOLS[run.data.protocol].sample
    step = make_step(run.objective, run.optimizer, observe=observe)
    stored = jax.tree.map(jnp.asarray, run.data.train)
    for chosen in jnp.arange(UPDATES * config.batch_size).reshape(UPDATES, -1):
        state, metrics = step(state, gather(stored, chosen))
    assert state.step == UPDATES
    seeds = run.params_by_seed(state)
    told = {name: float(value) for name, value in metrics.items()}
    row = {"epoch": 1, "step": UPDATES, "train": told, "validation": None}
    summary = {
        "test": final_figures(run, seeds) if evaluated else {},
        "test_objective": told,
        "train": {"images_per_second": 1.0, "steps": UPDATES},
    }
    run_folder.write_json(config.out / "config.json", run_settings.settings_of(config))
    metric_rows.write_rows(config.out, [row])
    run_folder.write_json(config.out / "results.json", summary)
    checkpoints.save(config.out / "checkpoints", state, {})
    return Trained(run, seeds)


@pytest.fixture(scope="module")
def runs() -> dict[tuple[Config, bool], Trained]:
    return {}


def all_trained(
    name: str, folder: Path, runs: dict[tuple[Config, bool], Trained]
) -> Mapping[str, Trained]:
    source = inspect.getsource(module_of(name))
    evaluated = '"results.json"' in source and '["test"]' in source
    found: dict[str, Trained] = {}
    for label, training in ENTRIES[name].presets["short"].items():
        own = tiny(training)
        if own.start_from is not None:
            start = found[str(own.start_from)].config.out
            own = dataclasses.replace(own, start_from=start)
        shared = of_same_networks(own)
        if (shared, evaluated) not in runs:
            placed = dataclasses.replace(shared, out=folder / label)
            placed.out.mkdir()
            runs[shared, evaluated] = trained(placed, evaluated)
        stand_in = runs[shared, evaluated]
        config = dataclasses.replace(own, out=stand_in.config.out)
        run = dataclasses.replace(stand_in.run, config=config)
        found[label] = stand_in._replace(run=run)
    return found


def module_of(name: str) -> ModuleType:
    return importlib.import_module(ENTRIES[name].show.__module__)


def named(finding: str, numbers: Mapping[str, float]) -> list[str]:
    """The figures with decimals in a finding that are numbers, rounded as they are."""

    def is_number(figure: str) -> bool:
        digits, exponent, _ = figure.rstrip("%").partition("e")
        places = len(digits.partition(".")[2])
        kind = exponent or ("%" if figure.endswith("%") else "f")
        return any(f"{abs(v):.{places}{kind}}" == figure for v in numbers.values())

    figures = re.findall(r"\d+\.\d+(?:e[+-]\d+)?%?", finding.replace(",", ""))
    return [figure for figure in figures if is_number(figure)]


@pytest.mark.parametrize("name", ENTRIES)
def test_what_a_system_shows_is_finite_named_and_drawn(name, runs, tmp_path):
    shown = ENTRIES[name].show(all_trained(name, tmp_path, runs))
    assert shown.numbers
    assert all(map(np.isfinite, shown.numbers.values())), shown.numbers
    assert named(shown.finding, shown.numbers)
    assert "nan" not in re.findall(r"\w+", shown.finding)
    assert shown.figures
    for number, figure in enumerate(shown.figures):
        assert isinstance(figure, Figure)
        assert save(figure, tmp_path / f"{number}.png").stat().st_size > 0
    assert (len(shown.tables) == 0) == (name in NO_TABLE)
    for table in shown.tables:
        assert table.rows
        assert "<td" in render(table)
