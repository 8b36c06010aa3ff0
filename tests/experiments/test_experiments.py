"""The experiments, in process: what they write, that they repeat, what they refuse."""

import csv
import dataclasses
import json
import math
import re
import shlex
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pages import Page
from tiny_run import tiny

from experiments import advise, estimator_variance, precision, train
from experiments.benchmark import cell_run
from experiments.harness import interrupts, metric_rows
from experiments.harness.cli import parse
from experiments.harness.interrupts import noted_interrupts
from experiments.harness.measured_run import measured_run
from experiments.reports.sections import model_sections
from experiments.training import report
from experiments.training.evaluate import final_figures
from experiments.training.load import load_trained, read_source
from experiments.training.resume import open_training
from experiments.training.run import prepare
from experiments.training.starting_point import starting_state
from vaejax.benchmark import CostReport, GroupReport
from vaejax.benchmark.rows import COLUMNS
from vaejax.bounds import BOUNDS
from vaejax.compatibility import check
from vaejax.core import Batch, LossState, Params, Problem, VaejaxError, build
from vaejax.data import DATASETS, ImageData
from vaejax.data.types import DatasetInfo
from vaejax.estimators import ESTIMATORS
from vaejax.evaluation import reconstruction
from vaejax.models import MODELS
from vaejax.plotting.style import written
from vaejax.training import checkpoints

pytestmark = pytest.mark.slow

SETTINGS = {  # of the models that have sizes; the smallest that train
    "categorical_mlp": ("latent_dim=2", "num_categories=3"),
    "two_layer_sigmoid_belief_network": ("latent_dims=3,2", "factorised=true"),
    "conditional_vae": ("latent_dim=2", "hidden=8"),
    "gaussian_mlp": ("latent_dim=2", "hidden=8"),
    "m2": ("latent_dim=2", "hidden=8"),
    "vade": ("latent_dim=2", "hidden=8"),
    "gaussian_conv": ("latent_dim=2", "channels=4"),
    "family_mlp": ("latent_dim=2", "hidden=8"),
    "hierarchical_mlp": ("latent_dims=3,2", "hidden=8,6"),
    "ladder_mlp": ("latent_dims=3,2", "hidden=8,6"),
    "masked_autoencoder": (
        *("patch_size=4", "width=8", "depth=1", "heads=1"),
        *("decoder_width=8", "decoder_depth=1"),
    ),
    "prod_lda": ("num_topics=3", "hidden=8"),
    "semi_amortized_mlp": ("latent_dim=2", "hidden=8"),
    "vq_vae": ("latent_dim=3", "num_codes=8", "channels=4", "blocks=0"),
    "sigmoid_belief_network": ("latent_dim=4",),
    "stacked_denoising_autoencoder": ("latent_dim=4", "pretraining_steps=2"),
}


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *_: {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> train.Results:
    out = tmp_path_factory.mktemp("finished") / "run"
    return train.run(tiny(out, epochs=2, bound="iwae", num_samples=3))


def test_a_run_writes_its_settings_metrics_results_checkpoint_and_figures(finished):
    out = finished.out
    settings = json.loads((out / "config.json").read_text())
    assert settings["bound"] == "iwae"
    assert settings["num_samples"] == 3
    rows = metric_rows.read_rows(out)
    assert [row["epoch"] for row in rows] == [1, 2]
    results = json.loads((out / "results.json").read_text())
    assert results == finished.summary
    assert results["test"]["num_samples"] == 7
    assert results["test"]["num_examples"] == 20
    assert 0 <= results["test"]["active_units"] <= 2
    assert results["protocol"] == "dynamic"
    assert results["seed"] == 0
    assert results["train"]["skipped"] == 0
    chosen = results["train"]["chosen"]
    assert (chosen["by"], chosen["epoch"], chosen["out_of"]) == ("last", 2, 2)
    assert not any("test" in row or row["validation"] for row in rows)
    assert {"vaejax", "jax", "python"} <= results["versions"].keys()
    figures = [
        results["test"]["log_likelihood"],
        results["test"]["monte_carlo_error"],
        results["train"]["images_per_second"],
        results["train"]["compile_seconds"],
        *[value for row in rows for value in row["train"].values()],
        *results["test_objective"].values(),
    ]
    assert all(map(math.isfinite, figures))
    assert checkpoints.latest(out / "checkpoints") == results["train"]["steps"]
    for name in ("curves", "reconstructions", "samples", "latent_space"):
        assert (out / "figures" / f"{name}.png").stat().st_size > 1000


def test_a_run_writes_a_report_with_its_answer_and_its_command(finished):
    text = (finished.out / "report.html").read_text()
    page = Page(text)
    value = finished.summary["test"]["log_likelihood"]
    assert f"Test log-likelihood, S = 7: {written(value)}" in page.text
    assert written(value) in " ".join(page.cells)
    assert [tag for tag, _ in page.tags].count("img") == 4
    (command,) = re.findall("python -m experiments.train (.*)", page.text)
    assert parse(train.Config, shlex.split(command)).bound == "iwae"


def test_a_loaded_run_is_evaluated_as_it_was(finished):
    trained = load_trained(finished.out)
    again = final_figures(trained.run, trained.seeds)
    before = dict(finished.summary["test"])
    del again["images_per_second"], before["images_per_second"]
    assert again == before


@pytest.mark.parametrize(
    ("opened", "config_class"),
    [(open_training, train.Config), (measured_run, advise.Config)],
)
def test_resuming_nothing_says_so(opened, config_class, tmp_path, capsys):
    new = config_class(out=tmp_path / "new")
    config = config_class(out=tmp_path / "run", resume=True)
    said = f"there is nothing to resume in {config.out}: the run starts anew\n"
    for opening, expected in ((new, ""), (config, said), (config, "")):
        with opened(opening):
            assert capsys.readouterr().out == expected


def test_the_trained_model_is_read_back_as_it_was(finished):
    trained = load_trained(finished.out)
    assert trained.config.num_samples == 3
    assert trained.model.name == "gaussian_mlp"
    jax.tree.map(np.testing.assert_array_equal, trained.params, finished.params)
    assert len(trained.data.test.x) == 20


def test_a_seed_gives_its_results_and_another_seed_others(
    finished, tmp_path, no_figures
):
    def run_again(seed: int) -> float:
        config = tiny(
            tmp_path / str(seed), epochs=2, bound="iwae", num_samples=3, seed=seed
        )
        return train.run(config).summary["test"]["log_likelihood"]

    assert run_again(0) == finished.summary["test"]["log_likelihood"]
    assert run_again(1) != finished.summary["test"]["log_likelihood"]


def documents() -> DatasetInfo:
    """A few documents of five words."""
    rng = np.random.default_rng(0)

    def read(split: str, data_dir: Path) -> ImageData:
        counts = rng.poisson(2.0, (120, 5)).astype(np.uint16)
        return ImageData(counts[counts.any(1)], None, words=tuple("abcde"))

    splits = ("train", "test")
    return DatasetInfo(
        name="documents", shape=(5,), splits=splits, protocols=("counts",), read=read
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains(name, tmp_path, no_figures, monkeypatch):
    monkeypatch.setitem(DATASETS, "documents", documents)
    posterior = MODELS[name]().posterior
    config = tiny(
        tmp_path / "run",
        dataset="documents" if name == "prod_lda" else "digits",
        model=name,
        model_settings=SETTINGS.get(name, ()),
        bound="elbo" if posterior.has_density else "reconstruction",
        estimator="pathwise" if posterior.reparam else "score_function",
    )
    found = "log_likelihood" if posterior.has_density else "squared_error"
    assert math.isfinite(train.run(config).summary["test"][found])


def test_the_likelihoods_scale_and_a_regularizers_weight_are_settings(tmp_path):
    def mmd_of(*words: str) -> tuple[float, float]:
        """The metric, and the log-density of an image at its own mean."""
        config = tiny(
            tmp_path / "run",
            protocol="none",
            model_settings=(
                *SETTINGS["gaussian_mlp"],
                "likelihood=fixed_normal",
                "likelihood.scale=0.05",
            ),
            regularizers=("mmd", *words),
        )
        run = prepare(config)
        model, objective, data = run.model, run.objective, run.data
        key = jax.random.key(0)
        params, state = objective.init(key)
        batch = Batch(data.test, jnp.arange(len(data.test.x)))
        _, (_, metrics) = objective.loss(params, state, key, batch)
        x = data.test.x[0]
        return float(metrics["mmd"]), float(model.likelihood.log_prob(x, x))

    default, log_prob = mmd_of()
    heavier, _ = mmd_of("weight=25")
    assert heavier == pytest.approx(2.5 * default, rel=1e-5)
    assert log_prob == pytest.approx(-64 * math.log(0.05 * math.sqrt(2 * math.pi)))


@pytest.mark.parametrize("model", ["gaussian_conv", "vq_vae"])
def test_a_count_may_be_zero_where_its_factory_says_so(model):
    build(MODELS, model, ["blocks=0"])
    with pytest.raises(VaejaxError, match="latent_dim=0 must be an integer from 1"):
        build(MODELS, model, ["latent_dim=0"])


def last_bound(model: str, estimator: str) -> str | None:
    """The last bound on which the model's estimator is not refused."""
    built = build(MODELS, model, SETTINGS[model])
    for bound in reversed(BOUNDS):
        problem = Problem(model=built, bound=BOUNDS[bound](), num_samples=2)
        if check(problem, ESTIMATORS[estimator]()).status != "refused":
            return bound
    return None


RUNS = {("gaussian_mlp", bound, "pathwise") for bound in BOUNDS} | {
    (model, bound, estimator)
    for model in (
        "gaussian_mlp",
        "categorical_mlp",
        "sigmoid_belief_network",
        "two_layer_sigmoid_belief_network",
    )
    for estimator in ESTIMATORS
    if (bound := last_bound(model, estimator))
}
DISCRETE = {"arm", "disarm", "enumeration", "gumbel_softmax", "rebar", "relax", "rloo"}


def test_binary_latents_of_two_layers_train_by_every_estimator_that_one_does():
    one, two = (
        {estimator for model, _, estimator in RUNS if model == name}
        for name in ("sigmoid_belief_network", "two_layer_sigmoid_belief_network")
    )
    assert DISCRETE < one == two


@pytest.mark.parametrize(("model", "bound", "estimator"), sorted(RUNS))
def test_every_bound_and_every_estimator_trains(
    model, bound, estimator, tmp_path, no_figures, monkeypatch
):
    monkeypatch.setattr(train, "final_figures", lambda *_: {"test": {}})
    monkeypatch.setattr(report, "print_summary", lambda *_: None)
    monkeypatch.setattr(report, "write", lambda *_: None)
    config = tiny(
        tmp_path / "run",
        model=model,
        model_settings=SETTINGS[model],
        bound=bound,
        estimator=estimator,
        num_samples=2,
        allow_bias=True,
        batch_size=1438,  # the data set: one step an epoch
    )
    assert math.isfinite(train.run(config).summary["train"]["bound"])


def test_a_loss_that_is_not_finite_stops_the_run_at_the_last_good_state(
    tmp_path, no_figures
):
    config = tiny(
        tmp_path / "run",
        dataset="digits",
        protocol="none",
        model="linear_gaussian",
        model_settings=(),
        learning_rate=1e6,
        epochs=3,
    )
    with pytest.raises(VaejaxError, match=r"not finite at step (\d+).*--overwrite"):
        train.run(config)
    params = load_trained(config.out).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert not (config.out / "results.json").exists()
    with pytest.raises(VaejaxError, match=r"use --resume .* --overwrite to start anew"):
        train.run(config)
    with pytest.raises(VaejaxError, match=r"not finite at step (\d+).*--overwrite"):
        train.run(dataclasses.replace(config, resume=True))


def test_an_explosion_by_the_last_step_is_seen_too(tmp_path, no_figures):
    """The loss of the last step is finite; only what is measured afterwards is not."""
    config = tiny(tmp_path / "run", batch_size=1438, learning_rate=1e30)
    with pytest.raises(VaejaxError, match=r"not finite after step 1: .* no good state"):
        train.run(config)
    assert not config.out.exists()


def test_overwriting_leaves_alone_what_is_no_such_run(finished, tmp_path, no_figures):
    comparison = estimator_variance.Config(
        checkpoint=finished.out, draws=40, out=finished.out, overwrite=True
    )
    with pytest.raises(VaejaxError, match="holds a run of another experiment"):
        estimator_variance.run(comparison)
    assert (finished.out / "checkpoints").is_dir()
    paper = tmp_path / "paper" / "figures"
    paper.mkdir(parents=True)
    (paper / "mine.png").write_text("kept")
    train.run(tiny(paper.parent, overwrite=True))
    assert (paper / "mine.png").exists()


def test_the_command_in_a_report_repeats_the_run_in_a_folder_of_its_name(finished):
    command = model_sections({"vae": finished.out})[0].command
    assert f"--out {finished.out.name}" in command
    assert str(finished.out.parent) not in command
    assert "--bound iwae" in command


def test_a_folder_is_only_resumed_with_its_own_settings(tmp_path, no_figures):
    out = tmp_path / "run"
    config = tiny(out, resume=True)  # of nothing: it starts
    results = train.run(config)
    with pytest.raises(VaejaxError, match=r"finished run.*--overwrite"):
        train.run(config)
    (out / "results.json").unlink()  # as if the evaluation had been interrupted
    with pytest.raises(VaejaxError, match="num_samples was 1 and is 2; seed was 0"):
        train.run(dataclasses.replace(config, num_samples=2, seed=5))
    again = train.run(config)
    likelihoods = [r.summary["test"]["log_likelihood"] for r in (results, again)]
    assert likelihoods[0] == likelihoods[1]
    (out / "mine.txt").write_text("kept")
    train.run(dataclasses.replace(config, resume=False, overwrite=True))
    assert (out / "mine.txt").exists()


def test_a_run_starts_from_the_networks_of_another(
    finished, tmp_path, no_figures, capsys
):
    start = {"start_from": finished.out, "learning_rate": 1e-30}
    again = train.run(tiny(tmp_path / "again", **start))
    assert f"starts from {finished.out}: encoder, decoder\n" in capsys.readouterr().out
    theirs, ours = (load_trained(one.out).params for one in (finished, again))
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)
    for other, refusal in (
        ("hidden=8 activation=relu", "use .* activation=tanh"),
        ("hidden=9", "with the same networks"),
    ):
        settings = ("latent_dim=2", *other.split())
        with pytest.raises(VaejaxError, match=refusal):
            train.run(tiny(tmp_path / other, **start, model_settings=settings))


def test_a_start_takes_the_prior_too_where_its_shapes_agree(
    tmp_path, no_figures, capsys
):
    """The run says what it took, also where it replaces the folder it started from."""
    settings = SETTINGS["gaussian_mlp"]
    mixture = (*settings, "prior=gaussian_mixture", "prior.num_components=3")
    config = tiny(tmp_path / "run", model_settings=mixture, batch_size=1438)
    theirs = train.run(config).params
    again = dataclasses.replace(
        config, start_from=config.out, learning_rate=1e-30, overwrite=True
    )
    other = dataclasses.replace(again, model_settings=settings)
    run = prepare(other)
    capsys.readouterr()
    starting_state(run, read_source(other))
    said = f"starts from {config.out}: encoder, decoder"
    assert (
        said + "; prior new, because of other shapes there\n" in capsys.readouterr().out
    )
    ours = train.run(again).params
    assert said + ", prior\n" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)


def test_a_start_takes_auxiliary_parameters_where_their_shapes_agree(finished, capsys):
    config = tiny(Path("none"), start_from=finished.out)
    run = prepare(config)
    assert repr(run) == "Run(gaussian_mlp on digits, elbo by dreg, K = 1, in none)"

    def with_auxiliary(size: int, value: float) -> Params:
        return finished.params._replace(auxiliary=jnp.full(size, value))

    ours = dataclasses.replace(
        run.objective, init=lambda key: (with_auxiliary(3, 0.0), LossState())
    )
    run = dataclasses.replace(run, objective=ours, optimizer=optax.adam(1.0))
    for size in (3, 4):
        state = starting_state(run, with_auxiliary(size, 1.0))
        assert bool(state.params.auxiliary.all()) == (size == 3)
        assert ("auxiliary new" in capsys.readouterr().out) == (size == 4)


def test_a_start_that_cannot_be_leaves_the_run_in_its_place(finished, no_figures):
    before = {p: p.read_bytes() for p in finished.out.rglob("*") if p.is_file()}
    same = {"epochs": 2, "bound": "iwae", "num_samples": 3, "overwrite": True}
    for start, settings in (
        (finished.out / "typo", SETTINGS["gaussian_mlp"]),
        (finished.out, ("latent_dim=3", "hidden=8")),
    ):
        config = tiny(finished.out, start_from=start, model_settings=settings, **same)
        with pytest.raises(VaejaxError, match=r"cannot read|other parameters"):
            train.run(config)
    after = {p: p.read_bytes() for p in finished.out.rglob("*") if p.is_file()}
    assert after == before


def test_a_finished_run_goes_on_with_more_epochs(
    tmp_path, no_figures, capsys, monkeypatch
):
    out = tmp_path / "run"
    config = tiny(out, epochs=2, batch_size=1438)
    first = train.run(config).summary
    with pytest.raises(VaejaxError, match="finished run: use --resume with more --epo"):
        train.run(dataclasses.replace(config, epochs=1, resume=True))
    more = dataclasses.replace(config, epochs=4, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(train, "final_figures", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train.run(more)
    # What it had found stays, and it goes on all the same.
    assert json.loads((out / "results.json").read_text()) == first
    assert json.loads((out / "config.json").read_text())["epochs"] == 2
    assert "the training continues from epoch 2 to 4, not 2" in (
        said := capsys.readouterr().out
    )
    assert "the cosine schedule for 4 epochs: 0.0005 at this step, not 0" in said
    second = train.run(more).summary
    assert second["train"]["epochs"] == 4
    assert [row["epoch"] for row in metric_rows.read_rows(out)] == [1, 2, 3, 4]
    assert json.loads((out / "results.json").read_text()) == second
    assert json.loads((out / "config.json").read_text())["epochs"] == 4
    with pytest.raises(VaejaxError, match="finished run"):
        train.run(more)


def test_the_first_interrupt_is_noted_and_the_second_comes_at_once(monkeypatch):
    monkeypatch.setattr(interrupts, "REPEAT", 0.0)
    reached = []

    def run(count: int) -> None:
        with noted_interrupts() as interrupted:
            assert not interrupted()
            for number in (signal.SIGTERM, signal.SIGINT)[:count]:
                signal.raise_signal(number)
                reached.append(interrupted())

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    for count in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(count)
    assert reached == [True, True]  # nothing after the second interrupt
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_rounded_products_cost_little_and_something(finished, tmp_path):
    def compare(**settings: object) -> precision.Results:
        config = precision.Config(
            checkpoint=finished.out, num_samples=20, out=tmp_path / "run", **settings
        )
        return precision.run(config)

    found = compare(precisions=("bfloat16", "default")).summary
    assert found["default"] == found["float32"]
    assert 1e-5 < abs(found["bfloat16"]["difference"]) < 0.1
    assert 1e-3 < found["bfloat16"]["largest"] < 1
    saved = json.loads((tmp_path / "run" / "results.json").read_text())
    assert saved["log_likelihood"] == found
    with pytest.raises(VaejaxError, match=r"this is a CPU.*use bfloat16"):
        compare(precisions=("tensorfloat32",), overwrite=True)
    assert (tmp_path / "run" / "results.json").exists()


def test_a_run_trains_on_rounded_products(finished, tmp_path, no_figures):
    config = tiny(tmp_path / "run", matmul_precision="bfloat16", bound="iwae")
    config = dataclasses.replace(config, num_samples=3, epochs=2)
    test = train.run(config).summary["test"]["log_likelihood"]
    exact = finished.summary["test"]["log_likelihood"]
    assert 0 < abs(test - exact) < 0.5


@pytest.fixture(scope="module")
def oracle(tmp_path_factory) -> estimator_variance.Results:
    return estimator_variance.run(
        estimator_variance.Config(
            bounds=("iwae",),
            estimators=("pathwise", "stl", "dreg", "rloo"),
            num_samples=(8,),
            draws=1000,
            out=tmp_path_factory.mktemp("oracle") / "run",
        )
    )


def test_results_csv_has_its_columns_and_a_row_for_every_refusal(oracle):
    text = (oracle.out / "results.csv").read_text()
    assert text.splitlines()[0] == ",".join(
        [*COLUMNS, *cell_run.SETTINGS, "config_hash"]
    )
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["estimator"] for row in rows if row["status"] == "refused"] == ["rloo"]
    assert "score_function" in oracle.refusals["rloo x iwae on linear_gaussian, K = 8"]
    figures = {*GroupReport._fields, *CostReport._fields, "work_normalized_variance"}
    for row in rows:
        assert len(row["config_hash"]) == 12
        if row["status"] != "refused":
            assert row.pop("safe") in ("True", "False")
            assert all(math.isfinite(float(row[name])) for name in row.keys() & figures)
            assert row["reference"] == "the exact gradient"
    for name in ("variance", "rms_snr", "work_normalized_variance", "bias"):
        assert (oracle.out / "figures" / f"{name}.png").exists()


def test_only_the_biased_estimator_shows_a_bias(oracle):
    scores = {
        (row["estimator"], row["group"]): row["bias_squared"]
        / row["bias_squared_stderr"]
        for row in oracle.rows
        if row["status"] != "refused"
    }
    assert scores.pop(("stl", "encoder")) > 10
    assert {estimator for estimator, _ in scores} == {"pathwise", "stl", "dreg"}
    for cell, score in scores.items():
        assert abs(score) < 5, cell


@pytest.mark.parametrize(
    ("bound", "settings", "source"),
    [
        ("cubo", ("latent_dim=1", "data_shape=3"), "the exact gradient"),  # minimised
        ("elbo", ("latent_dim=3",), "the exact gradient"),  # in closed form
        ("iwae", ("latent_dim=3",), "dreg, "),  # too many nodes
        ("iwae", ("data_shape=100",), "dreg, "),  # not converged
    ],
)
def test_every_reference_points_the_same_way(
    bound, settings, source, tmp_path, no_figures
):
    config = estimator_variance.Config(
        model_settings=settings,
        bounds=(bound,),
        estimators=("pathwise",),
        num_samples=(2,),
        draws=400,
        batch_size=2,
        out=tmp_path / "run",
    )
    results = estimator_variance.run(config)
    saved = json.loads((config.out / "results.json").read_text())
    (reference,) = saved["references"]
    assert reference.startswith(source)
    for row in results.rows:
        assert abs(row["bias_squared"] / row["bias_squared_stderr"]) < 5
        assert row["cosine"] > 0.5


def test_a_checkpoint_of_two_latents_is_compared_exactly(finished, tmp_path):
    config = estimator_variance.Config(
        checkpoint=finished.out,
        bounds=("iwae",),
        estimators=("pathwise",),
        num_samples=(3,),
        draws=80,
        out=tmp_path / "run",
    )
    results = estimator_variance.run(config)
    summary = json.loads((results.out / "results.json").read_text())
    assert summary["references"] == ["the exact gradient"]
    for row in results.rows:
        assert row["model"] == "gaussian_mlp"
        assert abs(row["bias_squared"]) < 5 * row["bias_squared_stderr"]

    def refused(**changes: object) -> str:
        with pytest.raises(VaejaxError) as error:
            estimator_variance.run(
                dataclasses.replace(config, out=tmp_path / "other", **changes)
            )
        return str(error.value)

    assert "only 20 test images" in refused(batch_size=21)
    assert "another experiment" in refused(checkpoint=results.out)
    with pytest.raises(VaejaxError, match="--overwrite"):
        estimator_variance.run(config)


@pytest.mark.filterwarnings("ignore:checkpoint .* is damaged")
def test_a_damaged_checkpoint_is_refused(tmp_path, no_figures):
    out = train.run(tiny(tmp_path / "run")).out
    for path in (out / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.raises(VaejaxError, match=r"no checkpoint in .* is whole"):
        estimator_variance.run(
            estimator_variance.Config(checkpoint=out, out=tmp_path / "variance")
        )
    assert not (tmp_path / "variance").exists()


def test_a_run_on_mnist(prepared_dir, tmp_path):
    config = tiny(
        tmp_path / "run", dataset="mnist", data_dir=prepared_dir, eval_num_samples=50
    )
    test = train.run(config).summary["test"]
    assert (test["num_samples"], test["num_examples"]) == (50, 20)
    assert -250 < test["log_likelihood"] < -80


def test_an_autoencoder_is_trained_and_told_by_its_reconstructions(tmp_path):
    settings = {
        "bound": "reconstruction",
        "estimator": "pathwise",
        "num_samples": 1,
        "model_settings": ("posterior=point_mass", "hidden=8", "latent_dim=2"),
        "auxiliary_rate": 1e-4,
        "num_seeds": 2,
    }
    test = train.run(tiny(tmp_path / "run", **settings)).summary["test"]
    assert "log_likelihood" not in test
    assert 0 < test["squared_error"] < 64  # pixels in [0, 1]
    assert test["squared_error_standard_deviation_over_seeds"] > 0
    first = test["seeds"][0]
    trained = load_trained(tmp_path / "run")
    kept = reconstruction(trained.model, trained.params, trained.data.test)
    assert first["squared_error"] == pytest.approx(kept.squared_error.mean(), rel=1e-5)
