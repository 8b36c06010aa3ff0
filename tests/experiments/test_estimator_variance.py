"""The benchmark itself: cells go on where they were, budgets are kept, laws hold."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import estimator_variance, replay, train
from experiments.benchmark import cell_run
from experiments.benchmark.choice import choose_estimators
from experiments.estimator_variance import Config, seconds_of
from experiments.harness import machine, run_folder
from vaejax.benchmark import CostReport, measure
from vaejax.benchmark import reference as reference_module
from vaejax.benchmark.cells import (
    AS_INITIALISED,
    CellGroup,
    Point,
    make_groups,
    objective_at,
)
from vaejax.benchmark.findings import findings
from vaejax.benchmark.moments import groups
from vaejax.bounds import BOUNDS
from vaejax.core import Problem, VaejaxError
from vaejax.estimators import ESTIMATORS

pytestmark = pytest.mark.slow

TIMED = {
    "compile_seconds",
    *CostReport._fields,
    *("work_normalized_variance", "work_normalized_variance_stderr"),
}


def only_the_summary(out, rows, of_run, *, command, summary):
    run_folder.write_json(out / "results.json", summary)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    report = cell_run.variance_report
    monkeypatch.setattr(report, "write", only_the_summary)


def config_for(out, **settings) -> Config:
    return dataclasses.replace(
        Config(
            model_settings=("latent_dim=1", "data_shape=2"),
            bounds=("iwae",),
            estimators=("pathwise", "rloo", "dreg"),
            num_samples=(2, 3),
            draws=80,
            batch_size=2,
            out=out,
        ),
        **settings,
    )


def untimed(rows):
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> estimator_variance.Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_run.variance_report, "write", only_the_summary)
        return estimator_variance.run(config_for(tmp_path_factory.mktemp("v") / "run"))


@pytest.mark.parametrize("seed", range(3))
def test_a_run_cut_anywhere_ends_with_the_same_rows(whole, seed, tmp_path):
    """The journal is cut at any byte, as kill -9 in the middle of a write leaves it."""
    out = tmp_path / "run"
    shutil.copytree(whole.out, out)
    (out / "results.json").unlink()
    journal = (out / "metrics.jsonl").read_bytes()
    cut = int(np.random.default_rng(seed).integers(len(journal)))
    (out / "metrics.jsonl").write_bytes(journal[:cut])
    with pytest.raises(VaejaxError, match="unfinished run: use --resume"):
        estimator_variance.run(config_for(out))
    again = estimator_variance.run(config_for(out, resume=True))
    assert untimed(again.rows) == untimed(whole.rows)
    assert all(row["flops"] for row in again.rows if row["status"] != "refused")


def test_a_killed_run_goes_on_with_what_is_not_measured(whole, tmp_path):
    out = tmp_path / "run"
    words = f"""
        -m experiments.estimator_variance --model-settings latent_dim=1 data_shape=2
        --bounds iwae --estimators pathwise rloo dreg --num-samples 2 3 --draws 80
        --batch-size 2 --out {out}
    """
    process = subprocess.Popen(
        [sys.executable, *words.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    journal = out / "metrics.jsonl"
    while not (journal.exists() and journal.stat().st_size > 0):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    measured = journal.read_text().count('"rows"')
    assert 1 <= measured < 4  # of the four cells
    again = estimator_variance.run(config_for(out, resume=True))
    for row, before in zip(untimed(again.rows), untimed(whole.rows), strict=True):
        numbers = {k for k, v in row.items() if isinstance(v, float)}
        assert {k: row[k] for k in row.keys() - numbers} == {
            k: before[k] for k in row.keys() - numbers
        }
        # Another process may compile with other vector widths.
        for name in numbers:
            np.testing.assert_allclose(row[name], before[name], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("names", [["dreg", "stl"], []])
def test_nothing_else_runs_when_the_rows_of_a_group_are_out(names, monkeypatch):
    """The time is measured next, even where only the time was missing."""
    running = []

    def reference_of(point, problem):
        running.append(problem)
        time.sleep(0.2 * problem)  # the second set's is slower than the first's rows
        running.remove(problem)

    monkeypatch.setattr(measure, "reference_of", reference_of)
    monkeypatch.setattr(measure, "_measure", lambda *at: at[3].result() or [])
    point = Point(*[None] * 5)
    work = [
        (point, CellGroup(0, 1, {}, {}), names),
        (point, CellGroup(1, 1, {}, {}), ["dreg"]),
    ]
    overlapped = []
    with contextlib.closing(measure.measure_groups(work)) as sets:
        for expected, rows in zip((names, ["dreg"]), sets, strict=True):
            found = []
            for name, _ in rows:
                found.append(name)
                overlapped += running
            assert sorted(found) == expected
            assert not running
    assert overlapped == [1] * len(names)  # they do run beside the rows


def test_no_flops_are_given_of_a_program_that_loops():
    config = config_for(None)
    (setting,) = estimator_variance.make_points(config)
    estimators = [ESTIMATORS[name]() for name in ("dreg", "measure_valued")]
    (cells,) = make_groups(setting, [BOUNDS["iwae"]()], estimators, (2,), (3,))
    costs = measure.measure_costs(setting, cells, timed=True)
    assert costs["dreg"].flops > 0  # of M = 3 estimates, side by side
    assert np.isnan(costs["measure_valued"].flops)
    assert costs["measure_valued"].peak_bytes > 0


def test_programs_are_forgotten_before_there_is_no_room_for_another(monkeypatch):
    traces = []
    program = jax.jit(lambda x: traces.append(x) or x + 1)
    for most, expected in ((10**9, 1), (0, 2)):
        program(1.0)
        monkeypatch.setattr(machine, "MOST_MAPPINGS", most)
        machine.forget_programs()
        program(1.0)
        assert len(traces) == expected


def test_a_budget_is_spent_on_draws(tmp_path):
    results = estimator_variance.run(
        config_for(
            tmp_path / "run", budget="6s", num_samples=(2,), estimators=("dreg", "stl")
        )
    )
    draws = {row["estimator"]: row["draws"] for row in results.rows}
    # A pass takes milliseconds, so that the time does not end after a single one.
    assert all(n % 200 == 0 and n >= 400 for n in draws.values())
    for row in results.rows:
        if row["estimator"] == "dreg":
            assert abs(row["bias_squared"]) < 5 * row["bias_squared_stderr"]
            assert 0 < row["bias_squared_stderr"] < row["variance"] / 200


def test_times_are_read_as_they_are_written():
    assert (seconds_of("90s"), seconds_of("10m"), seconds_of("1.5h")) == (90, 600, 5400)
    assert seconds_of(None) is None
    for wrong in ("10", "m", "0s", "-1m", "1d"):
        with pytest.raises(VaejaxError, match="use a time such as"):
            seconds_of(wrong)


def test_the_variance_falls_with_the_independent_estimates(tmp_path):
    results = estimator_variance.run(
        config_for(
            tmp_path / "run",
            estimators=("pathwise",),
            num_samples=(3,),
            num_outer=(1, 4),
            draws=4000,
            per_layer=True,
        )
    )
    rows = {(row["num_outer"], row["group"]): row for row in results.rows}
    names = {group for _, group in rows}
    assert "encoder/weight" in names
    assert len(names) > 2
    for name in names:
        one, four = rows[1, name], rows[4, name]
        error = np.hypot(one["variance_stderr"] / 4, four["variance_stderr"])
        assert abs(one["variance"] / 4 - four["variance"]) < 4 * error
        assert error < 0.1 * four["variance"]


def test_the_variance_over_a_pool_is_that_of_the_data_and_of_the_latents(tmp_path):
    results = estimator_variance.run(
        config_for(
            tmp_path / "run",
            estimators=("dreg",),
            num_samples=(3,),
            pool=20,
            draws=4000,
        )
    )
    for row in results.rows:
        parts = row["variance_data"] + row["variance_latents"]
        error = np.hypot(row["variance_data_stderr"], row["variance_latents_stderr"])
        error = np.hypot(error, row["variance_stderr"])
        assert abs(parts - row["variance"]) < 4 * error
        assert row["variance_data"] > 5 * row["variance_data_stderr"]
        # The reference is of the whole pool.
        assert abs(row["bias_squared"]) < 5 * row["bias_squared_stderr"]
        assert (row["batch_size"], row["reference"]) == (2, "the exact gradient")


def test_a_drawn_reference_says_how_well_it_is_known(monkeypatch):
    """The stated errors are those of many references; VIMCO's are the least at K > 1.

    Drawing stops early where 16 passes would not reach the wanted error.
    """
    (setting,) = estimator_variance.make_points(config_for(None))
    problem = Problem(model=setting.model, bound=BOUNDS["iwae"](), num_samples=3)
    monkeypatch.setattr(reference_module, "REFERENCES", reference_module.REFERENCES[2:])
    exact = reference_module.reference_of(setting, problem)
    assert set(exact.errors.values()) == {0.0}

    def refuse(*args, **kwargs):
        raise VaejaxError("too many nodes")

    monkeypatch.setattr(reference_module.exact, "value_and_gradient", refuse)
    truth = groups(exact.gradient)
    scores = []
    for seed in range(20):
        key = jax.random.key(seed)
        again = setting._replace(
            keys=setting.keys._replace(reference=key), reference_error=1e-9
        )
        drawn = reference_module.reference_of(again, problem)
        assert drawn.gradient.draws == 4 * setting.draws
        assert drawn.words.startswith("vimco, 320 draws, error ")
        for name, mean in groups(drawn.gradient.mean).items():
            distance = np.linalg.norm(mean - truth[name]) / np.linalg.norm(truth[name])
            scores.append((distance / drawn.errors[name]) ** 2)
    # E distance^2 = error^2; the spread of the mean over references is measured.
    scores = np.mean(np.reshape(scores, (20, -1)), axis=1)
    assert abs(scores.mean() - 1) < 4 * scores.std(ddof=1) / np.sqrt(20)
    assert abs(scores.mean() / 4 - 1) > 4 * scores.std(ddof=1) / 4 / np.sqrt(20)


def test_a_trained_control_variate_is_the_run_s_own():
    """The estimator of the run keeps its parameters; other estimators have new ones."""
    config = config_for(None)
    (setting,) = estimator_variance.make_points(config)
    problem = Problem(model=setting.model, bound=BOUNDS["iwae"](), num_samples=3)
    own, state = ESTIMATORS["nvil"]().init(problem, jax.random.key(9))
    setting = setting._replace(
        params=setting.params._replace(auxiliary=own),
        trained_with="nvil",
        trained_state=state,
    )
    names = ("nvil", "moving_average", "dreg", "gumbel_softmax")

    def cells_at(setting):
        estimators = [ESTIMATORS[name]() for name in names]
        (cells,) = make_groups(setting, [problem.bound], estimators, (3,), (1,))
        marked = [n for n in names if AS_INITIALISED in cells.rows[n].verdict.reason]
        return cells, marked

    cells, marked = cells_at(setting)
    assert marked == ["moving_average"]
    _, params, found = objective_at(setting, cells, "nvil")
    assert params.auxiliary is own
    assert found.estimator is state
    reference = reference_module.reference_of(setting, problem)
    assert reference.errors.keys() == {"encoder", "decoder"}  # none of its own
    _, params, found = objective_at(setting, cells, "moving_average")
    assert params.auxiliary == ()
    assert found.estimator is not state
    # Of other shapes, as by other settings of the estimator, it does not fit.
    own = jax.tree.map(lambda leaf: leaf[..., :1], own)
    other = setting._replace(params=setting.params._replace(auxiliary=own))
    assert cells_at(other)[1] == ["nvil", "moving_average"]
    assert cells_at(setting._replace(trained_with=None))[1] == []


def test_estimators_are_replayed_along_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    run = train.Config(
        dataset="digits",
        model_settings=("hidden=4", "latent_dim=2"),
        bound="iwae",
        num_samples=3,
        epochs=3,
        batch_size=500,
        eval_num_samples=1,
        eval_examples=20,
        snapshot_epochs=2,
        out=tmp_path / "run",
    )
    train.run(run)
    config = replay.Config(
        checkpoint=run.out,
        estimators=("dreg", "stl"),
        draws=80,
        batch_size=2,
        out=tmp_path / "replay",
    )
    results = replay.run(config)
    rows = {(r["step"], r["estimator"], r["group"]): r for r in results.rows}
    assert {step for step, _, _ in rows} == {0, 6}  # an epoch is of three steps
    for (step, estimator, group), row in rows.items():
        assert (row["bound"], row["num_samples"]) == ("iwae", 3)
        if estimator == "dreg" or group == "decoder":
            assert abs(row["bias_squared"]) < 5 * row["bias_squared_stderr"]
        assert row["variance"] != rows[6 - step, estimator, group]["variance"]
        if row["reference_error"] > 0.05:
            assert row["cosine"] is None
        assert (row["checkpoint"], row["seed"]) == (str(run.out), 0)
    # The first parameters are those that the run starts from, and no others.
    again = replay.run(dataclasses.replace(config, overwrite=True))
    assert untimed(again.rows) == untimed(results.rows)

    def refused(**changes: object) -> str:
        with pytest.raises(VaejaxError) as error:
            replay.run(dataclasses.replace(config, out=tmp_path / "no", **changes))
        return str(error.value)

    assert "at least one estimator" in refused(estimators=())
    assert "only 20 test images" in refused(batch_size=21)
    assert "unknown bound" in refused(bounds=("nope",))
    shutil.rmtree(run.out / "snapshots")
    assert "train with --snapshot-epochs" in refused()


# Settings of estimators.


def test_an_estimator_is_named_with_the_settings_that_are_no_defaults():
    words = (
        "dreg",
        "nvil:decay=0.8",
        "nvil:normalize=true:hidden=20,20",
        "nvil:decay=.5",
    )
    names = [estimator.name for estimator in choose_estimators(words)]
    assert names == [
        "dreg",
        "nvil",
        "nvil:hidden=(20,20):normalize=True",
        "nvil:decay=0.5",
    ]
    again = [estimator.name for estimator in choose_estimators(names)]
    assert again == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nvil", "nvil:decay=0.8"), "name each one once"),
        (("nvil:decay=0", "nvil:decay=0.0"), "name each one once"),
        (("nvil:normalize=true", "nvil:normalize=True"), "name each one once"),
        (("nvil:hidden=20", "nvil:hidden=[20]"), "name each one once"),
        (("nvil:decay",), "'decay' is not a setting"),
        (("nvil:width=3",), "width"),
        (("nvl:decay=0.5",), "unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused(words, message):
    with pytest.raises(VaejaxError, match=message):
        choose_estimators(words)


def test_a_comparison_of_refused_cells_alone_leaves_no_folder(tmp_path):
    config = config_for(
        tmp_path / "run", bounds=("iwae",), estimators=("vimco",), num_samples=(1,)
    )
    with pytest.raises(VaejaxError, match=r"every cell is refused.*choose other"):
        estimator_variance.run(config)
    assert not config.out.exists()


def test_two_settings_of_one_estimator_are_two_cells(tmp_path):
    """Gumbel-softmax at a low temperature has its own name, and the larger variance."""
    cold = "gumbel_softmax:temperature=0.1"
    results = estimator_variance.run(
        config_for(
            tmp_path / "run",
            model=("sigmoid_belief_network",),
            model_settings=("latent_dim=2", "data_shape=3"),
            bounds=("elbo",),
            estimators=("gumbel_softmax", cold),
            num_samples=(1,),
            draws=400,
            cost="counted",
        )
    )
    variances = {
        row["estimator"]: row["variance"]
        for row in results.rows
        if row["group"] == "encoder"
    }
    assert variances.keys() == {"gumbel_softmax", cold}
    assert variances[cold] > 2 * variances["gumbel_softmax"]
    lines = (results.out / "metrics.jsonl").read_text().splitlines()
    cells = {tuple(json.loads(line)["cell"]) for line in lines}
    assert len(cells) == 2
    assert any(
        f"{cold} under elbo" in str(text) for text in findings(results.table.rows)
    )


def test_estimators_of_one_name_are_refused():
    (setting,) = estimator_variance.make_points(config_for(None))
    alike = [
        ESTIMATORS["dreg"](),
        dataclasses.replace(ESTIMATORS["stl"](), name="dreg"),
    ]
    with pytest.raises(VaejaxError, match="share a name"):
        make_groups(setting, [BOUNDS["iwae"]()], alike, (2,), (1,))
