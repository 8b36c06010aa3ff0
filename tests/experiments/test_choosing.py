"""A run keeps its best or its last epoch, ends early, and chooses by seed."""

import dataclasses
import json

import jax
import numpy as np
import oracles
import pytest

from experiments import train
from experiments.harness import metric_rows
from experiments.training import loop, sinks
from experiments.training.choosing import selection_of
from experiments.training.chosen import evaluated
from experiments.training.load import load_trained
from experiments.training.run import prepare
from experiments.training.validation import validation_metrics
from tests.tiny_run import tiny
from vaejax.core import VaejaxError
from vaejax.data import DATASETS, load
from vaejax.training import checkpoints, init_state, of_seed

OVERFITS = {
    "protocol": "threshold",
    "model_settings": ("latent_dim=8", "hidden=64"),
    "learning_rate": 3e-2,
    "schedule": "constant",
    "batch_size": 10,
    "validation_share": 0.96,
}


def rows_of(*losses: tuple[float, ...]) -> list[dict]:
    """The rows of a run whose seeds have these losses on the validation split."""
    return [
        {
            "epoch": number,
            "step": 10 * number,
            "validation": {"loss": float(np.mean(each)), "elbo": 0.0},
            "validation_by_seed": {"loss": list(each), "elbo": [0.0] * len(each)},
        }
        for number, each in enumerate(losses, start=1)
    ]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory) -> train.Results:
    """A run of 25 epochs on few images, with patience."""
    out = tmp_path_factory.mktemp("choosing") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.report, "draw", lambda *_: {})
        return train.run(tiny(out, epochs=25, patience=3, num_seeds=3, **OVERFITS))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"schedule": "exponential"}, False),
        ({"schedule": "constant"}, True),
        ({"schedule": "warmup"}, True),
        ({"schedule": "constant", "select": "last"}, False),
        ({"patience": 2}, True),
        ({"patience": 2, "select": "last"}, False),
        ({"select": "validation"}, True),
    ],
)
def test_the_best_epoch_is_kept_where_no_schedule_ends_the_run(settings, expected):
    assert selection_of(train.Config(**settings)).by_validation is expected


def test_every_seed_keeps_its_own_best_epoch_and_the_first_of_equals():
    config = train.Config(select="validation", num_seeds=2)
    found = selection_of(config).chosen_epoch(rows_of((5, 9), (3, 8), (3, 7), (4, 8)))
    assert found == {
        "by": "validation loss",
        "epoch": [2, 3],
        "step": [20, 30],
        "out_of": 4,
        "validation": {"loss": 5.0, "elbo": 0.0},
    }


def test_epochs_of_different_kl_weights_are_compared_by_the_elbo():
    config = train.Config(select="validation", kl_weight=("linear",))
    rows = [
        {"epoch": 1, "step": 1, "validation": {"loss": 1.0, "elbo": -9.0}},
        {"epoch": 2, "step": 2, "validation": {"loss": 8.0, "elbo": -8.0}},
    ]
    assert selection_of(config).chosen_epoch(rows)["epoch"] == 2
    without = dataclasses.replace(config, kl_weight=())
    assert selection_of(without).chosen_epoch(rows)["epoch"] == 1


def test_patience_waits_for_the_last_seed_that_improves():
    config = train.Config(patience=2, num_seeds=2)
    rows = rows_of((5, 9), (6, 8), (7, 8), (8, 8))
    selection = selection_of(config)
    assert [selection.is_over(rows[:n]) for n in range(5)] == [False] * 4 + [True]
    assert not selection._replace(patience=None).is_over(rows)


def test_a_run_without_a_choice_trains_on_the_whole_split(tmp_path):
    run = prepare(tiny(tmp_path / "run"))
    assert len(run.data.train.x) == len(load("digits").images)
    assert run.data.validation is None
    held = prepare(tiny(tmp_path / "run", select="validation"))
    assert len(held.data.validation.x) == 144
    assert len(held.data.train.x) == 1438 - 144
    other = prepare(tiny(tmp_path / "run", select="validation", seed=1))
    assert (other.data.validation.x != held.data.validation.x).any()
    part = prepare(tiny(tmp_path / "run", select="validation", without_class=3))
    assert len(part.data.validation.x) < 144


def test_a_tracker_is_shown_images_that_are_not_of_the_test_split(tmp_path):
    for settings, split in (({}, "train"), ({"select": "validation"}, "validation")):
        run = prepare(tiny(tmp_path / "run", **settings))
        name, examples = sinks.observed_images(run)
        assert name == split
        assert examples.x.shape == (100, 8, 8, 1)
        assert set(np.unique(examples.x)) == {0.0, 1.0}
        np.testing.assert_array_equal(examples.x, sinks.observed_images(run)[1].x)


def test_a_data_set_with_a_validation_split_is_validated_on_it(tmp_path, monkeypatch):
    digits = DATASETS["digits"]()

    def with_validation():
        def read(split, data_dir):
            return digits.read("test" if split == "validation" else split, data_dir)

        splits = ("train", "validation", "test")
        return dataclasses.replace(digits, splits=splits, read=read)

    monkeypatch.setitem(DATASETS, "digits", with_validation)
    for settings in ({}, {"select": "validation"}):
        run = prepare(tiny(tmp_path / "run", eval_examples=None, **settings))
        assert len(run.data.train.x) == 1438
        np.testing.assert_array_equal(run.data.validation.x, run.data.test.x)


def test_the_kept_parameters_are_each_seeds_best_on_the_validation_split(overfitted):
    """The parameters read back have the best loss of all rows, the last have not."""
    rows = metric_rows.read_rows(overfitted.out)
    chosen = overfitted.summary["train"]["chosen"]
    losses = np.array([row["validation_by_seed"]["loss"] for row in rows])
    best = losses.argmin(0)
    assert chosen["epoch"] == (best + 1).tolist()
    assert chosen["out_of"] == len(rows) < 25
    assert len(rows) == best.max() + 1 + 3  # patience
    trained = load_trained(overfitted.out)
    np.testing.assert_array_equal(
        oracles.flat(trained.params), oracles.flat(overfitted.params)
    )
    run = trained.run
    like = init_state(run.objective, run.optimizer, run.keys.train)
    last, _ = checkpoints.restore(overfitted.out / "checkpoints", like)
    kept, _ = checkpoints.restore(
        overfitted.out / "chosen", like._replace(opt_state=())
    )
    validate = validation_metrics(run)
    np.testing.assert_allclose(validate(kept)["loss"], losses.min(0), rtol=1e-5)
    np.testing.assert_allclose(validate(evaluated(last))["loss"], losses[-1], rtol=1e-5)
    assert (losses[-1] > losses.min(0) + 0.01).all()
    for seed in range(3):
        own = of_seed(kept.params, seed)
        np.testing.assert_array_equal(
            oracles.flat(own), oracles.flat(trained.seeds[seed])
        )


def test_the_test_split_is_evaluated_once_at_the_end(overfitted):
    rows = metric_rows.read_rows(overfitted.out)
    assert not any("test" in key for row in rows for key in row)
    found = json.loads((overfitted.out / "results.json").read_text())
    assert found["test"]["num_examples"] == 20
    assert "best" not in found["train"]


def test_a_run_that_patience_ended_is_finished(overfitted):
    config = overfitted.out
    (overfitted.out / "results.json").unlink()
    trained = load_trained(overfitted.out)
    again = train.run(dataclasses.replace(trained.config, resume=True))
    before, after = overfitted.summary, again.summary
    assert after["train"] == before["train"]
    assert after["test_objective"] == before["test_objective"]
    assert config.joinpath("results.json").exists()


def test_averages_are_what_is_evaluated_and_kept(tmp_path, capsys):
    config = tiny(tmp_path / "run", epochs=2, ema=0.9, batch_size=200)
    found = train.run(config)
    assert "epoch to keep: last" in capsys.readouterr().out
    trained = load_trained(config.out)
    np.testing.assert_array_equal(
        oracles.flat(trained.params), oracles.flat(found.params)
    )
    run = trained.run
    like = init_state(run.objective, run.optimizer, run.keys.train)
    last, _ = checkpoints.restore(config.out / "checkpoints", like)
    kept = oracles.flat(trained.params)
    assert np.abs(kept - oracles.flat(last.params)).max() > 1e-4
    np.testing.assert_array_equal(kept, oracles.flat(evaluated(last).params))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adma"}, "unknown optimizer 'adma': did you mean"),
        ({"optimizer": "adam:momentum=1"}, "'adam' has no setting 'momentum'"),
        ({"schedule": "linear"}, "unknown schedule"),
        ({"schedule": "warmup_cosine:epochs=9"}, "takes all of the run's 1 epochs"),
        ({"optimizer": "schedule_free_sgd"}, "use --schedule constant or warmup"),
        (
            {"optimizer": "schedule_free_sgd", "schedule": "warmup", "ema": 0.9},
            "averages the parameters already: leave --ema out",
        ),
        (
            {
                "optimizer": "schedule_free_adamw",
                "schedule": "constant",
                "encoder_steps": 2,
            },
            "encoder_steps is 2: leave it out, or use --optimizer adamw",
        ),
        (
            {"optimizer": "adamw:weight_decay=0.1", "weight_decay": 0.2},
            "weight_decay is given twice: leave one out",
        ),
        (
            {"select": "validation", "validation_share": 1.0},
            "use positive numbers of sum 1",
        ),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(settings, message, tmp_path):
    with pytest.raises(VaejaxError, match=message):
        prepare(tiny(tmp_path / "run", **settings))


@pytest.mark.parametrize("ema", [1.0, 0.0, float("nan")])
def test_an_average_of_no_steps_is_refused(ema):
    with pytest.raises(VaejaxError, match=r"--ema is .*, or leave it out"):
        train.Config(ema=ema)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "muon", "clip_norm": 1.0, "weight_decay": 0.01},
        {"optimizer": "sgd:momentum=0.9", "weight_decay": 0.01},
        {"optimizer": "schedule_free_adamw", "schedule": "warmup:epochs=1"},
    ],
)
def test_any_optimizer_trains_several_seeds(settings, tmp_path):
    """The bound is better after an epoch than it was before the first step."""
    config = tiny(
        tmp_path / "run", num_seeds=2, learning_rate=1e-2, batch_size=20, **settings
    )
    run = prepare(dataclasses.replace(config, select="validation"))
    validate = validation_metrics(run)
    before = validate(init_state(run.objective, run.optimizer, run.keys.train))
    with train.open_training(run.config):
        state, _ = loop.train_to_end(run)
    assert (validate(state)["bound"] > before["bound"] + 0.5).all()
    assert jax.tree.leaves(state.opt_state) == []
