"""`compare_estimators` and `check_unbiased`: the benchmark from a notebook."""

import csv
import dataclasses
import inspect
import math
import re
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from jax.lax import stop_gradient

import vaejax
from vaejax import Batch, Example, Params, VaejaxError, check_unbiased
from vaejax.benchmark import EstimatorTable
from vaejax.benchmark import table as table_module
from vaejax.benchmark.compiling import compile_seconds
from vaejax.benchmark.report import GroupReport
from vaejax.benchmark.rows import COLUMNS, row_of_line
from vaejax.bounds import elbo, iwae, renyi
from vaejax.core.doors import expect_all
from vaejax.estimators import dreg, pathwise, rebar, rloo, stl, vimco
from vaejax.models import linear_gaussian, sigmoid_belief_network
from vaejax.plotting import Picture
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    sample_posterior,
    with_value,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
# Without the types that the tests check at every call, as a user has it.
PLAIN = inspect.unwrap(vaejax.compare_estimators)
REAL = linear_gaussian(data_shape=(2,), latent_dim=1)
REAL_PARAMS = REAL.init(KEY)
X = Example(jnp.array([[0.5, -1.0], [1.5, 0.3]]))
BITS = sigmoid_belief_network(data_shape=(4,), latent_dim=3)
BITS_PARAMS = jax.tree.map(lambda leaf: leaf + 0.5, BITS.init(KEY))
BITS_X = Example(jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]]))


def compare(**changes):
    given = {
        "bounds": [elbo(), iwae()],
        "estimators": [dreg(), stl(), vimco()],
        "num_samples": [1, 4],
        "draws": 400,
        "key": KEY,
        "cost": "counted",
    }
    return PLAIN(REAL, REAL_PARAMS, X, **given | changes)


@pytest.fixture(scope="module")
def table():
    return compare()


def test_every_cell_is_measured_or_says_why_it_is_refused(table):
    cells = {row.cell for row in table}
    assert len(cells) == 2 * 3 * 2
    assert {c.num_samples for c in cells} == {1, 4}
    refused = [row for row in table if row.refused]
    assert refused
    assert {row.cell.estimator for row in refused} == {"vimco"}
    assert all(row.verdict.reason and row.report is None for row in refused)
    for row in table:
        if not row.refused:
            assert row.draws == 400
            assert row.reference == "the exact gradient"
            assert row.report.variance > 0
            assert row.cost.decoder_evaluations > 0


def test_every_cell_says_how_long_its_draws_compiled(table):
    compiled = {}
    for row in table:
        compiled.setdefault(row.cell, set()).add(row.compile_seconds)
        assert (row.compile_seconds is None) == row.refused
    assert all(len(of_groups) == 1 for of_groups in compiled.values())
    assert sum(seconds or 0.0 for (seconds,) in compiled.values()) > 0


def test_seconds_of_compilation_are_those_of_the_thread_and_of_new_programs():
    program = jax.jit(lambda x: jnp.sin(x) + 17)

    def compiled():
        start = compile_seconds()
        program(1.0).block_until_ready()
        return compile_seconds() - start

    mine = compile_seconds()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(compiled).result() > 0
        assert pool.submit(compiled).result() == 0
    assert compile_seconds() == mine


def test_what_is_declared_is_what_is_found(table):
    """Unbiased within five errors; STL's bias under IWAE is far beyond them."""
    biased = table.select(estimator="stl", bound="iwae", num_samples=4, group="encoder")
    (row,) = biased
    assert row.verdict.status == "biased"
    assert row.report.bias_squared > 10 * row.report.bias_squared_noise
    for row in table:
        if row.verdict.status == "unbiased" and row.group == "encoder":
            assert (
                abs(row.report.bias_squared) < 5 * row.report.bias_squared_noise + 1e-9
            )


def test_settings_tell_estimators_and_bounds_apart():
    table = vaejax.compare_estimators(
        BITS,
        BITS_PARAMS,
        BITS_X,
        bounds=[renyi(alpha=0.3), renyi()],
        estimators=[rebar(), rebar(temperature=0.1)],
        num_samples=2,
        draws=80,
        key=KEY,
        cost="none",
    )
    names = {(row.cell.bound, row.cell.estimator) for row in table}
    assert names == {
        (bound, estimator)
        for bound in ("renyi", "renyi:alpha=0.3")
        for estimator in ("rebar", "rebar:temperature=0.1")
    }
    variances = {row.report.variance for row in table if row.group == "encoder"}
    assert len(variances) == 4
    assert all(row.cost is None for row in table)


def test_an_estimator_that_no_registry_holds_is_compared_too(table):
    mine = dataclasses.replace(dreg(), name="mine")
    own = compare(estimators=[mine, dreg()], num_samples=4, bounds=[iwae()])
    one, other = (
        own.select(estimator=name, group="encoder") for name in ("mine", "dreg")
    )
    assert one.rows[0].report == other.rows[0].report


def test_the_minibatch_splits_the_variance():
    table = compare(
        estimators=[dreg()], bounds=[iwae()], num_samples=4, batch_size=1, cost="none"
    )
    for row in table:
        assert row.cell.batch_size == 1
        parts = row.split.data + row.split.latents
        assert parts == pytest.approx(row.report.variance, rel=0.5)


def test_a_table_shows_draws_and_writes_itself(table, tmp_path):
    text = repr(table)
    assert text.splitlines()[0].split()[:3] == ["bound", "estimator", "K"]
    assert len(text.splitlines()) == 1 + len(table)
    assert "<table" in table._repr_html_()
    assert any("cells are refused" in str(finding) for finding in table.findings())
    assert isinstance(table.plot(), Picture)
    assert isinstance(table.plot("bias"), Picture)
    with pytest.raises(VaejaxError, match="no figure 'vari' of these rows: use one of"):
        table.plot("vari")
    path = table.write(tmp_path / "rows.csv")
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert COLUMNS[-1] == "compile_seconds"
    assert [line["estimator"] for line in lines] == [r.cell.estimator for r in table]
    assert [row.line() for row in EstimatorTable.read(path)] == table.lines()
    stored = pyarrow.parquet.read_table(table.write(tmp_path / "rows.parquet"))
    assert stored.equals(table.to_arrow())
    again = EstimatorTable.read(tmp_path / "rows.parquet")
    assert again.lines() == table.lines()
    for use in (table.write, EstimatorTable.read):
        with pytest.raises(VaejaxError, match=r"neither \.csv nor \.parquet"):
            use(tmp_path / "rows.txt")
    (tmp_path / "other.csv").write_text("x\n1\n")
    with pytest.raises(VaejaxError, match="has no column 'batch_size': give a table"):
        EstimatorTable.read(tmp_path / "other.csv")


def test_pandas_is_asked_for_only_where_it_is_wanted(table, monkeypatch):
    monkeypatch.setattr(table_module, "find_spec", lambda name: None)
    with pytest.raises(VaejaxError, match="to_pandas needs pandas"):
        table.to_pandas()


def test_rows_are_chosen_by_their_columns(table):
    with pytest.raises(VaejaxError, match="no column 'estimater'"):
        table.select(estimater="dreg")
    with pytest.raises(VaejaxError, match="no row has estimator 'dregg'"):
        table.select(estimator="dregg")


def test_a_line_gives_its_row_back(table):
    """The journal of a run keeps lines without costs."""
    for row in table:
        costs = {} if row.cost is None else row.cost._asdict()
        again = row_of_line(row._replace(cost=None).line() | costs)
        assert again.line() == row.line()
        assert again.cell == row.cell
        if row.report is not None:
            assert isinstance(again.report, GroupReport)


def test_costs_are_timed_unless_they_are_only_counted():
    table = compare(
        estimators=[dreg()], bounds=[elbo()], num_samples=1, draws=80, cost="timed"
    )
    assert all(row.cost.seconds_per_gradient > 0 for row in table)
    (line,) = {
        row.line()["work_normalized_variance"] for row in table.select(group="encoder")
    }
    assert line > 0


MISTAKES = [
    ({"bounds": ["iwae"]}, r"bounds\[0\] must be a Bound, and is the name 'iwae'"),
    ({"bounds": "iwae"}, r"bounds\[0\] must be a Bound, and is the name 'iwae'"),
    ({"estimators": [dreg]}, r"estimators\[0\].*is the function dreg: call it"),
    ({"estimators": []}, "estimators is empty"),
    (
        {"estimators": [iwae()]},
        r"estimators\[0\] must be an Estimator, and is a Bound",
    ),
    ({"num_samples": 0}, "num_samples is 0: use integers of at least 1"),
    ({"num_samples": [2, 2]}, "name each one once"),
    ({"num_samples": [2.5]}, "use integers of at least 1"),
    ({"key": 0}, r"key is the integer 0: give a key, as in jax\.random\.key\(0\)"),
    ({"draws": 7}, "7 draws cannot be split"),
    ({"cost": "time"}, "cost is 'time': use timed, counted or none"),
    ({"num_samples": 4.0}, "num_samples is 4.0: use integers of at least 1"),
    ({"num_samples": None}, "num_samples is None: use integers of at least 1"),
    ({"num_samples": np.arange(3.0)}, "use integers of at least 1"),
    ({"reference_error": math.nan}, "reference_error is nan: give a number from 0"),
    (
        {"estimators": [dreg(), dreg()]},
        "share a name: decorate the factory with vaejax.named_by_settings",
    ),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_first_mistake_is_answered_in_one_sentence(changes, message):
    with pytest.raises(VaejaxError, match=message):
        compare(**changes)


def test_counts_may_be_numpy_integers_or_an_array():
    one = compare(num_samples=np.int64(4), estimators=[dreg()], cost="none")
    assert {row.cell.num_samples for row in one} == {4}
    assert all(type(row.cell.num_samples) is int for row in one)
    several = compare(num_samples=2 ** np.arange(3), estimators=[dreg()], cost="none")
    assert {row.cell.num_samples for row in several} == {1, 2, 4}


def refuses(*arguments):
    raise VaejaxError("it takes no such example: use another")


@pytest.mark.parametrize("cost", ["none", "counted"])
@pytest.mark.parametrize("when", ["check", "surrogate"])
def test_an_estimator_that_raises_is_a_row_with_its_reason(when, cost):
    late = dataclasses.replace(dreg(), name="late", **{when: refuses})
    table = compare(estimators=[late, dreg()], num_samples=2, cost=cost)
    late = table.select(estimator="late").rows
    assert len(late) == 2  # bounds
    assert all(row.refused and row.report is None for row in late)
    assert {row.verdict.reason for row in late} == {
        "it takes no such example: use another"
    }
    assert all(row.report for row in table.select(estimator="dreg"))
    assert table.findings()


@vaejax.named_by_settings
def shrunk(shrink: float = 0.0):
    return dataclasses.replace(dreg(), name="shrunk")


def test_settings_of_an_own_estimator_tell_its_cells_apart():
    table = compare(
        estimators=[shrunk(), shrunk(0.5)],
        num_samples=1,
        bounds=[elbo()],
        cost="none",
    )
    assert {r.cell.estimator for r in table} == {"shrunk", "shrunk:shrink=0.5"}


@pytest.mark.usefixtures("untyped")
def test_arrays_and_states_in_the_wrong_place_are_answered():
    given = {"bounds": [elbo()], "estimators": [dreg()], "num_samples": 1, "key": KEY}
    with pytest.raises(VaejaxError, match=r"batch is an array .* vaejax\.Example"):
        PLAIN(REAL, REAL_PARAMS, X.x, **given)
    state = vaejax.TrainState(REAL_PARAMS, *[()] * 6)
    with pytest.raises(
        VaejaxError,
        match="is the state of a training: give its parameters, as in state",
    ):
        PLAIN(REAL, state, X, **given)
    wider = linear_gaussian(data_shape=(2,), latent_dim=3)
    with pytest.raises(
        VaejaxError, match=r"params.encoder.* is of shape \(3,\), and in"
    ):
        PLAIN(REAL, wider.init(KEY), X, **given)
    with pytest.raises(VaejaxError, match="model must be a Model, and is the name"):
        PLAIN("linear_gaussian", REAL_PARAMS, X, **given)
    assert expect_all(vaejax.Bound, "bounds", elbo())[0].name == "elbo"


# ---- check_unbiased


def neighbour(shrink=0.0):
    """The score function with the next sample as baseline; shrunk, it is biased."""

    def surrogate(problem, params, state, key, example):
        lam, z = sample_posterior(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, stop_gradient(z), example)
        value = bound_value(problem, params, lam, example, terms)
        f = stop_gradient(problem.bound.log_weight(terms))
        weights = (1 - shrink) * (f - jnp.roll(f, -1)) / problem.num_samples
        return with_value(value + weights @ terms.log_qz, value), make_stats(
            value, terms
        )

    return dataclasses.replace(rloo(), name="neighbour", surrogate=surrogate)


def check(estimator, **changes):
    given = {"num_samples": 4, "draws": 20_000, "key": KEY}
    return check_unbiased(
        estimator, elbo(), BITS, BITS_PARAMS, BITS_X, **given | changes
    )


def test_an_unbiased_estimator_passes_and_its_planted_bias_is_found():
    right = check(neighbour())
    assert right.unbiased
    assert right.largest_z < right.limit
    assert right.reference == "the exact gradient"
    assert "no bias is seen" in str(right)
    wrong = check(neighbour(shrink=0.25))
    assert wrong.unbiased is False
    assert wrong.largest_z > 2 * wrong.limit
    assert "is biased" in str(wrong)


def test_a_bias_of_the_power_that_is_said_is_found():
    """A multiple of the true gradient, as large as `detectable`, in 40 keys of 40."""
    one = check(neighbour(), draws=2000)

    def off_by(share):
        def surrogate(problem, params, state, key, example):
            value, stats = neighbour().surrogate(problem, params, state, key, example)
            return with_value(value * (1 + share), value), stats

        return dataclasses.replace(rloo(), name="off", surrogate=surrogate)

    found = [
        check(off_by(2 * one.detectable), draws=2000, key=jax.random.key(seed)).unbiased
        for seed in range(10)
    ]
    assert found == [False] * 10


def test_few_draws_cannot_say():
    outcome = check(neighbour(), draws=80)
    assert outcome.unbiased is None
    assert "the draws cannot say" in str(outcome)
    assert "80 of them are fewer than 100" in str(outcome)


def test_heavy_tails_cannot_say_and_are_named_with_their_number():
    """Cauchy noise on the gradient has no mean, and squares of k near 2."""
    plain = pathwise()

    def surrogate(problem, params, state, key, example):
        value, stats = plain.surrogate(problem, params, state, key, example)
        noise = jax.random.cauchy(jax.random.fold_in(key, 1))
        bias = params.decoder["bias"].sum()
        return value + noise * (bias - stop_gradient(bias)), stats

    heavy = dataclasses.replace(plain, name="heavy", surrogate=surrogate)
    outcome = check_unbiased(
        heavy, elbo(), REAL, REAL_PARAMS, X, num_samples=1, draws=400, key=KEY
    )
    assert outcome.unbiased is None
    found = re.search(
        r"heavy, with a Pareto k of (\S+) in the group decoder", str(outcome)
    )
    assert float(found[1]) >= 0.5


def test_a_drawn_reference_is_not_of_the_estimator_itself():
    wide = linear_gaussian(data_shape=(2,), latent_dim=3)
    # The posterior is nearly the prior, so that the weights have light tails.
    params = jax.tree.map(lambda leaf: 0.3 * leaf, wide.init(KEY))
    outcome = check_unbiased(
        dreg(), iwae(), wide, params, X, num_samples=3, draws=2000, key=KEY
    )
    assert outcome.reference.startswith("pathwise, ")
    assert outcome.unbiased
    biased = check_unbiased(
        stl(), iwae(), wide, params, X, num_samples=3, draws=20_000, key=KEY
    )
    assert biased.unbiased is False
    assert "as declared" in str(biased)


def test_a_batch_serves_as_its_examples():
    batch = Batch(X, jnp.arange(2))
    outcome = check_unbiased(
        pathwise(), elbo(), REAL, REAL_PARAMS, batch, num_samples=1, draws=400, key=KEY
    )
    assert math.isfinite(outcome.detectable)
    assert isinstance(REAL_PARAMS, Params)
    assert np.isfinite(outcome.largest_z)


def test_progress_shows_a_bar_that_fills(capsys):
    settings = {"bounds": [elbo()], "estimators": [dreg()], "num_samples": 1}
    compare(**settings, cost="none", progress=True)
    assert "1/1 cells dreg" in capsys.readouterr().out
    check(neighbour(), draws=400, progress=True)
    assert "2/2 steps reference" in capsys.readouterr().out
    compare(**settings, cost="none")
    assert capsys.readouterr() == ("", "")
