"""`advise`: the advice from a notebook, for objects; the command's are beside it."""

import dataclasses
import inspect

import jax
import numpy as np
import pytest

import vaejax
from experiments.advise import Config, run
from experiments.benchmark import measured_model
from vaejax import VaejaxError
from vaejax.benchmark import AdviceRow, CostReport, recommend
from vaejax.bounds import iwae
from vaejax.estimators import dreg, rloo, score_function, stl
from vaejax.models import linear_gaussian

pytestmark = pytest.mark.slow

KEY = jax.random.key(7)
# Without the types that the tests check at every call, as a user has it.
PLAIN = inspect.unwrap(vaejax.benchmark.advise)
KEYS = measured_model.make_keys(0)
PLACE = measured_model.of_registry(
    "linear_gaussian", (), 8, params_key=KEYS.params, examples_key=KEYS.examples
)


def advise(**changes):
    given = {
        "bound": iwae(),
        "estimators": [dreg(), score_function(), stl(), rloo()],
        "num_samples": [2, 8],
        "batch_size": [4],
        "draws": 400,
        "key": KEY,
        "max_seconds": 0.04,
    }
    return PLAIN(PLACE.model, PLACE.params, PLACE.examples, **given | changes)


@pytest.fixture(autouse=True)
def known_costs(monkeypatch):
    """A gradient takes a millisecond and a kilobyte a sample, whatever it is."""

    def costs(measured):
        per_candidate = (c.cell.num_samples * c.cell.batch_size for c in measured)
        return [CostReport(n, 1e-3 * n, 0.0, 0.0, 1000 * n) for n in per_candidate]

    monkeypatch.setattr(recommend, "costs_of", costs)


def verdicts(advice):
    return {(row.estimator, row.num_samples): row.verdict for row in advice.rows}


def test_the_advice_is_that_of_the_command(tmp_path):
    """The keys of the two differ: their numbers agree within their errors."""
    advice = advise()
    command = run(
        Config(
            estimators=("dreg", "score_function", "stl", "rloo"),
            num_samples=(2, 8),
            batch_size=(4,),
            pool=8,
            group="encoder",
            max_seconds=0.04,
            out=tmp_path / "run",
        )
    )
    assert advice.recommended.choice() == command.recommended.choice()
    compared = 0
    for one, other in zip(advice.rows, command.rows, strict=True):
        assert one[:9] == other[:9]  # the choice, whether it is valid, its place
        for name in ("signal_per_root_second", "directional_snr"):
            a, b = (getattr(row, name) for row in (one, other))
            if one.draws is None:
                assert np.isnan([a, b]).all()
                continue
            error = np.hypot(*(getattr(r, f"{name}_stderr") for r in (one, other)))
            assert 0 < abs(a - b) < 4 * error
            compared += 1
    assert compared == 2 * 6


def test_what_is_refused_or_over_the_budget_is_a_row():
    advice = advise(max_seconds=0.02, draws=40, passes=1)
    found = verdicts(advice)
    assert {name: found[name, 8] for name in ("dreg", "rloo")} == {
        "dreg": "over budget",
        "rloo": "refused",
    }
    assert found["stl", 2] == "biased"
    rows = {(row.estimator, row.num_samples): row for row in advice.rows}
    assert rows["dreg", 8].seconds_per_gradient == 0.032
    assert rows["dreg", 8].draws is rows["rloo", 2].draws is None
    assert "use vimco" in rows["rloo", 2].reason
    small = verdicts(advise(max_bytes=10_000, draws=40, passes=1, max_seconds=None))
    assert small["dreg", 8] == "over budget"
    assert small["dreg", 2] != "over budget"


def refuses(*arguments):
    raise VaejaxError("it takes no such example: use another")


def test_an_own_estimator_is_an_object_like_any_other():
    """An estimator with DReG's gradients ties with DReG; one that raises is refused."""
    mine = dataclasses.replace(dreg(), name="mine")
    late = dataclasses.replace(dreg(), name="late", surrogate=refuses)
    advice = advise(estimators=[mine, late, dreg()], num_samples=2, draws=40)
    own, raising, twin = advice.rows
    assert own.signal_per_root_second == twin.signal_per_root_second
    assert {own.verdict, twin.verdict} == {"in front", "cannot be told apart"}
    assert advice.recommended is None
    assert advice.sentence().startswith("No winner")
    assert raising.verdict == raising.status == "refused"
    assert raising.reason == "it takes no such example: use another"


def test_an_advice_shows_itself():
    advice = advise(num_samples=2)
    lines = repr(advice).splitlines()
    assert lines[0].split()[:5] == ["estimator", "K", "M", "batch", "verdict"]
    assert len(lines) == 1 + len(advice.rows) + 1
    assert lines[-1] == advice.sentence()
    assert lines[-1].startswith("Use dreg (K = 2, M = 1, batch size 4): ")
    page = advice._repr_html_()
    assert page.count("<tr") == 1 + len(advice.rows)
    assert advice.sentence() in page
    assert [tuple(line) for line in advice.lines()] == [AdviceRow._fields] * 4
    assert advice.lines()[3]["peak_bytes"] is None  # of a refused one


MISTAKES = [
    ({"bound": "iwae"}, "bound must be a Bound, and is the name 'iwae'"),
    ({"estimators": [dreg]}, r"estimators\[0\].*is the function dreg: call it"),
    ({"estimators": ["dreg"]}, r"estimators\[0\].*is the name 'dreg': build it"),
    ({"estimators": [dreg(), dreg()]}, "share a name: decorate the factory"),
    ({"num_samples": [2, 2]}, "num_samples .*name each one once"),
    ({"batch_size": 0}, "batch_size is 0: use integers of at least 1"),
    ({"num_outer": []}, "num_outer is .*use integers of at least 1"),
    ({"passes": 0}, "passes is 0: give an integer"),
    ({"draws": 7}, "7 draws cannot be split"),
    ({"key": 0}, r"key is the integer 0: give a key, as in jax\.random\.key\(0\)"),
    ({"group": "encode"}, "unknown group 'encode': did you mean 'encoder'"),
    ({"max_seconds": 0}, "max_seconds is 0: give a number above 0.*, or None"),
    ({"max_bytes": 0.5}, "max_bytes is 0.5: give an integer from 1 .*, or None"),
    ({"max_seconds": 1e-3}, "the fastest takes 0.008 s, the smallest 8000 bytes"),
    ({"estimators": [stl()]}, "stl: .*or allow_bias=True for biased ones"),
    ({"estimators": [rloo()]}, "rloo: .*vimco.*use other estimators"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
@pytest.mark.usefixtures("untyped")
def test_a_first_mistake_is_answered_in_one_sentence(changes, message):
    with pytest.raises(VaejaxError, match=message):
        advise(**changes)


@pytest.mark.usefixtures("untyped")
def test_arrays_and_other_parameters_in_the_wrong_place_are_answered():
    given = {"bound": iwae(), "estimators": [dreg()], "num_samples": 1, "key": KEY}
    given |= {"batch_size": 4}
    x = PLACE.examples
    with pytest.raises(VaejaxError, match=r"pool is an array .* vaejax\.Example"):
        PLAIN(PLACE.model, PLACE.params, x.x, **given)
    wider = linear_gaussian(data_shape=(5,), latent_dim=3).init(KEY)
    with pytest.raises(VaejaxError, match=r"params.* is of shape .*, and in the model"):
        PLAIN(PLACE.model, wider, x, **given)
    with pytest.raises(VaejaxError, match="model must be a Model, and is the name"):
        PLAIN("linear_gaussian", PLACE.params, x, **given)
