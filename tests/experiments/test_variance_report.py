"""The words are those of the numbers, and every file holds every number."""

import csv
import json
import math
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from pages import Page
from planted_moments import report_on
from variance_rows import make_rows, records

from experiments.benchmark import variance_report, variance_tables
from experiments.harness import replacement, run_folder
from experiments.harness.result_table import write_csv
from vaejax.benchmark import CostReport
from vaejax.benchmark.findings import findings as findings_of
from vaejax.benchmark.numbers import estimate, plain_snr, short
from vaejax.benchmark.report import GroupReport
from vaejax.benchmark.rows import COLUMNS, places, worth
from vaejax.benchmark.statistics import in_errors, least_found, ratio_interval
from vaejax.benchmark.table import parquet_of
from vaejax.plotting import comparison
from vaejax.plotting.style import typeset

pytestmark = pytest.mark.slow

FIGURES = {
    *("variance", "rms_snr", "work_normalized_variance"),
    *("bias", "frontier", "evaluations", "map"),
}


def findings(rows, budget=None):
    """The findings of lines, as sentences."""
    return list(map(str, findings_of(records(rows), budget)))


def sentence(rows, *words, **settings):
    """The one finding that has all the words."""
    (found,) = [
        text
        for text in findings(rows, **settings)
        if all(word in text for word in words)
    ]
    return found


def comparison_figures(rows):
    return comparison.comparison_figures(records(rows))


def pair(ratio, error, **changes):
    """Two estimators under one bound, the second of `ratio` times less variance."""
    rows = make_rows(
        bounds=("iwae",), estimators=("pathwise", "dreg"), num_samples=(64,)
    )
    for row in rows:
        row["variance"] = 1.0 if row["estimator"] == "pathwise" else 1 / ratio
        row["variance_stderr"] = error * row["variance"]
    return [row | changes for row in rows]


# ---- variances


def test_the_interval_of_a_ratio_holds_it_as_often_as_is_said():
    """95% of 2000 intervals hold the ratio, within 4 standard errors.

    Those of half the errors, the negative control, do not.
    """
    key, runs, draws = np.random.default_rng(0), 2000, 200
    held = np.zeros(2)
    for _ in range(runs):
        rows, halved = [], []
        for scale in (3.0, 1.0):  # a variance from normal draws, and its error
            variance = scale * key.chisquare(draws) / draws
            error = variance * np.sqrt(2 / draws)
            rows.append({"variance": variance, "variance_stderr": error})
            halved.append({"variance": variance, "variance_stderr": error / 2})
        for i, cells in enumerate((rows, halved)):
            _, low, high = ratio_interval(*cells)
            held[i] += low < 3 < high
    score = (held / runs - 0.95) / math.sqrt(0.95 * 0.05 / runs)
    assert abs(score[0]) < 4 < abs(score[1])


def test_variance_times_seconds_has_the_error_of_both():
    """2000 intervals hold it as often as is said; those of the variance alone not."""
    key, runs = np.random.default_rng(0), 2000
    held = np.zeros(2)
    unknown = GroupReport(*[math.nan] * 28)
    for variance, seconds in zip(
        3 + 0.1 * key.normal(size=runs), 2 + 0.1 * key.normal(size=runs), strict=True
    ):
        cost = CostReport(1, seconds, 0.1)
        report = unknown._replace(variance=variance, variance_stderr=0.1)
        row = worth(report, cost)
        off = abs(row["work_normalized_variance"] - 3 * 2)
        stderrs = row["work_normalized_variance_stderr"], 0.1 * seconds
        held += [off < 1.96 * stderr for stderr in stderrs]
    score = (held / runs - 0.95) / math.sqrt(0.95 * 0.05 / runs)
    assert abs(score[0]) < 4 < abs(score[1])


def test_a_ratio_is_claimed_only_where_its_interval_excludes_one():
    clear = sentence(pair(41, 0.01), "times less encoder variance")
    assert clear.startswith(
        "Under iwae at K = 64, dreg has 41 times less encoder variance than pathwise "
        "(95% interval 39.9 to 42.2; at 1.1 times the cost, 1.07 to 1.13; "
        "rms signal-to-noise ratio"
    )
    unclear = sentence(pair(1.02, 0.01), "do not show which of")
    assert "of dreg and pathwise" in unclear
    assert "ratio is 1.02, 95% interval 0.992 to 1.05)" in unclear
    assert "times less" not in " ".join(findings(pair(1.02, 0.01)))


def test_the_interval_is_wider_where_the_best_was_chosen_from_more():
    rows = pair(1.05, 0.015)
    worse = [
        row | {"estimator": f"other {i}", "variance": 9.0, "variance_stderr": 0.01}
        for row in rows[:2]
        for i in range(8)
    ]
    assert "times less" in sentence(rows, "dreg")
    assert "do not show which of" in sentence(rows + worse, "dreg")


def test_the_first_named_is_compared_with_the_next_where_it_is_best():
    rows = pair(0.25, 0.01)
    assert "pathwise has 4 times less encoder variance than dreg" in " ".join(
        findings(rows)
    )


@pytest.mark.parametrize("name", ["seconds_per_gradient", "rms_snr", "variance_stderr"])
def test_what_is_unknown_is_not_said(name):
    text = " ".join(findings(pair(41, 0.01, **{name: None})))
    said = {
        "seconds_per_gradient": "times the cost",
        "rms_snr": "signal-to-noise",
        "variance_stderr": "variance",
    }
    assert said[name] not in text
    assert "nan" not in text
    assert ("41 times less" in text) == (name != "variance_stderr")


def test_a_biased_estimator_is_never_the_best():
    rows = pair(41, 0.01)
    rows += [
        row | {"estimator": "stl", "status": "biased", "variance": 1e-9}
        for row in rows[:2]
    ]
    assert "dreg has 41 times less" in " ".join(findings(rows))


def test_places_speak_for_themselves_and_the_last_step_for_all():
    rows = make_rows(models=("a", "b"), num_samples=(4,), steps=(0, 10))
    for row in rows:
        if row["step"] == 0 and row["status"] != "refused":
            row["variance"], row["variance_stderr"] = 1.0, 1e-9
    assert list(places(records(rows))) == [
        "a, M = 1, batch of 4",
        "b, M = 1, batch of 4",
    ]
    for model in "ab":
        place = f"On {model}, M = 1, batch of 4: under iwae at K = 4"
        found = sentence(rows, place, "times less")
        assert "dreg has 1" in found  # 16 times, by the laws; at step 0 they are equal


def test_the_variance_along_training_is_the_last_over_the_first():
    rows = pair(2, 0.01, step=0) + pair(2, 0.01, step=5) + pair(2, 0.01, step=9)
    for row in rows:
        if (row["step"], row["estimator"]) == (9, "dreg"):
            row["variance"], row["variance_stderr"] = 0.05, 0.0005
    said = sentence(rows, "divided by that at step 0, is")
    assert said.startswith("Under iwae at K = 64, the encoder variance at step 9")
    # exp(2.2414 sqrt(2) 0.01), z for two intervals
    assert "pathwise 1 (95% interval 0.969 to 1.03)" in said
    assert "dreg 0.1 (95% interval 0.0969 to 0.103)" in said
    assert not any("at step 0" in text for text in findings(pair(2, 0.01)))


def test_what_a_budget_bought_is_said():
    rows = pair(2, 0.01)
    rows[0] |= {"draws": 400, "variance_stderr": 0.05}  # of a variance of 1
    said = sentence(rows, "The budget of 20s", budget="20s")
    assert "bought 400 to 2,000 draws a cell" in said
    assert "to ±2.0% to ±9.8%" in said  # 1.96 standard errors
    found = least_found([row for row in rows if row["group"] == "encoder"] * 2)
    assert f"squared biases of {min(found):.2g} to {max(found):.2g} (encoder)" in said
    assert not any("budget" in text for text in findings(pair(2, 0.01)))


# ---- references, biases and refusals


def test_a_reference_that_is_worse_than_asked_for_leads():
    rows = [
        row | {"reference_error": 0.03, "reference_error_asked": 0.05}
        for row in make_rows()
    ]
    assert not any("reference" in text for text in findings(rows))
    for row in rows:
        if row["num_samples"] == 64 and row["bound"] == "iwae":
            row["reference_error"] = 1.1 if row["group"] == "encoder" else 0.06
    said = sentence(rows, "2 of 16 reference gradients")
    assert said.startswith("2 of 16 reference gradients")
    assert "not known to 0.05 of the norm" in said
    assert "iwae, K = 64, encoder, is 1.1 times its norm" in said


def test_biases_are_named_and_what_would_have_been_seen():
    rows = make_rows()
    seen = sentence(
        rows, "These are declared biased, and are: stl under iwae, K = 4, 16, 64 ("
    )
    assert "corrected for 56 tests at 5%: up to " in seen
    assert "standard errors, bias squared 0.2" in seen
    unseen = sentence(rows, "No bias is seen in 50 estimates")
    limits = [
        (3.1243 + 1.6449)
        * row["bias_squared_stderr"]  # the z of 0.05 / 56, and of 0.05
        for row in rows
        if row["status"] == "unbiased" and row["group"] == "encoder"
    ]
    assert f"{min(limits):.2g} to {max(limits):.2g} (encoder)" in unseen
    assert "depending on the cell" in unseen
    (one,) = [
        row
        for row in make_rows(bounds=("elbo",), estimators=("dreg",), num_samples=(4,))
        if row["group"] == "encoder"
    ]
    alone = sentence([one], "No bias is seen in 1 estimate declared unbiased")
    assert " to " not in alone.partition("(")[2]
    assert "depending on the cell" not in alone


@pytest.mark.parametrize("evaluations", [1.0, 2.0])
def test_equal_costs_are_not_said(evaluations):
    rows = pair(41, 0.01, seconds_per_gradient=None, decoder_evaluations=64.0)
    for row in rows:
        if row["estimator"] == "dreg":
            row["decoder_evaluations"] *= evaluations
    said = sentence(rows, "times less encoder variance")
    assert ("at 2 times the decoder evaluations" in said) == (evaluations == 2)
    assert "at 1 times" not in said


@pytest.mark.parametrize("errors", [2, 3, 5, 10, 100])
def test_a_bias_is_said_in_standard_errors_of_the_mean(errors):
    """U / stderr(U), the control, is half of it at best."""
    rng, found, control = np.random.default_rng(0), [], []
    for _ in range(40):
        draws = errors / np.sqrt(400) + rng.normal(size=(400, 1))
        row = report_on(draws, np.zeros(1))._asdict() | {"draws": 400}
        found.append(in_errors(row))
        control.append(row["bias_squared"] / row["bias_squared_stderr"])
    assert np.median(found) == pytest.approx(errors, abs=0.6, rel=0.05)
    assert np.median(control) < 0.6 * errors


def test_a_bias_that_should_not_be_is_said_first():
    rows = make_rows()
    for row in rows:
        if (row["estimator"], row["num_samples"]) == ("dreg", 16):
            row["bias_squared"] = 50 * row["bias_squared_stderr"]
    wrong = sentence(rows, "These are declared unbiased, but have a bias")
    assert "dreg under elbo, K = 16" in wrong
    assert "dreg under iwae, K = 16" in wrong
    assert not any("No bias is seen" in text for text in findings(rows))
    hidden = [row | {"bias_squared": 0.0} for row in rows]
    assert "stl under iwae" in sentence(
        hidden, "These are declared biased, but no bias is seen"
    )


def test_what_is_unsafe_is_said_and_marked():
    rows = make_rows(bounds=("elbo",), num_samples=(64,))
    assert not any("†" in text for text in findings(rows))
    for row in rows:
        if row["estimator"] == "dreg":
            row |= {"safe": False, "pareto_k": 0.83, "draws": 64}
    alone = [row | {"safe": row["safe"] or row["group"] != "encoder"} for row in rows]
    said = sentence(rows, "2 of 6 estimates are marked †")
    assert "† (the largest Pareto k is 0.83, the fewest draws are 64): " in said
    assert said.count(". ") == 1  # two sentences
    assert "1 of 6 estimates is marked †" in sentence(alone, "marked †")
    best = sentence(rows, "times less encoder variance")
    assert "†" in best
    dreg = [row for row in rows if row["estimator"] == "dreg"]
    assert all(estimate(row, "variance").endswith("†") for row in dreg)


def test_a_cosine_that_is_not_given_has_a_reason():
    rows = [row | {"reference_error": 0.0} for row in make_rows(num_samples=(64,))]
    rows = [row | {"reference_error_asked": 0.05} for row in rows]
    assert not any("No cosine" in text for text in findings(rows))
    rows[0] |= {"cosine": None, "cosine_stderr": None}
    said = sentence(rows, "No cosine is given of 1 of 14 mean gradients")
    assert "below 4 times its own error" in said


def test_refusals_are_counted():
    assert "4 of 32 cells are refused, for 1 reason" in sentence(make_rows(), "refused")
    only = make_rows(bounds=("elbo",), estimators=("vimco",))
    for row in only:  # a reason that tells its K is one reason
        row["reason"] = f"all 2^{row['num_samples']} subsets are too many"
    assert "4 of 4 cells are refused, for 1 reason:" in sentence(only, "refused")
    assert variance_tables.refusals(records(only)) == [
        ("elbo", "vimco", "1, 4, 16, 64", "all 2^1 subsets are too many")
    ]
    assert len(findings(only)) == 1
    assert "4 of 4" in sentence(only, "refused")


def test_an_estimator_without_noise_is_named_and_not_compared():
    """The variance of an exact gradient is rounding, and its ratios mean nothing."""
    rows = make_rows(bounds=("elbo",))
    for row in rows:
        if row["estimator"] == "stl":
            row |= {"variance": 3e-17, "variance_stderr": 1e-32, "rms_snr": 1e7}
    sentence(rows, "the draws of stl are equal, up to rounding")
    assert "than" in (compared := sentence(rows, "times less"))
    assert "stl" not in compared


def test_a_finding_says_whether_it_is_decided():
    (clear,) = [f for f in findings_of(records(pair(41, 0.01))) if "41" in f.claim]
    assert clear.decided
    assert clear.claim == (
        "Under iwae at K = 64, dreg has 41 times less encoder variance than pathwise."
    )
    assert clear.numbers.startswith("95% interval 39.9 to 42.2; at 1.1 times the cost")
    assert str(clear) == f"{clear.claim[:-1]} ({clear.numbers})."
    open_one = findings_of(records(pair(1.02, 0.01)))[0]
    assert not open_one.decided
    hidden = [row | {"bias_squared": 0.0} for row in make_rows()]
    unseen = [f for f in findings_of(records(hidden)) if "no bias is seen" in f.claim]
    assert [f.decided for f in unseen] == [False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((4068.7, "4,070"), (123456.0, "123,000"), (0.000123, "0.000123")),
        *((1.23e-7, "1.23e-07"), (2e6, "2e+06"), (-0.5, "-0.5"), (1.0, "1")),
    ],
)
def test_a_short_number_is_in_full_between_a_ten_thousandth_and_a_million(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.20123, 0.00456, "0.2012 ± 0.0046"),
        (-0.0003, 0.002, "-0.0003 ± 0.0020"),
        (1234.5, 67.8, "1,234 ± 68"),
        (7.69e-6, 2.3e-7, "7.69e-06 ± 0.23e-06"),
        (-0.01, 2.3, "0.0 ± 2.3"),
        (0.5, None, "0.5"),
        (0.0, 0.0, "0"),
        (None, 1.0, ""),
    ],
)
def test_an_estimate_has_the_digits_of_its_error(value, error, text):
    assert estimate({"x": value, "x_stderr": error}, "x") == text


@pytest.mark.parametrize(("floors", "marked"), [(2.9, True), (3.1, False)])
def test_a_ratio_near_its_noise_floor_is_marked(floors, marked):
    snr = floors * math.sqrt(2 / (math.pi * 2000))
    row = {"snr": snr, "snr_stderr": 0.01, "draws": 2000}
    assert ("floor" in plain_snr(row)) == marked


# ---- files


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    rows = records(make_rows(num_samples=(1, 4), layers=True))
    of_run = {"config_hash": "ab12"}
    found = variance_report.write(
        out, rows, of_run, command="python -m experiments.x --y", summary={"seed": 3}
    )
    lines = [row.line() | of_run for row in rows]
    write_csv(out / "results.csv", lines, (*COLUMNS, *of_run))
    return out, lines, found


def test_both_tables_hold_every_row_and_column(written):
    out, rows, _ = written
    table = pyarrow.parquet.read_table(out / "results.parquet").to_pylist()
    text = (out / "results.csv").read_text().splitlines()
    for row, in_csv, in_parquet in zip(rows, csv.DictReader(text), table, strict=True):
        assert in_parquet == {name: row.get(name) for name in in_parquet}
        assert set(in_parquet) == set(in_csv) == set(rows[-1])
        for name, value in row.items():
            assert in_csv[name] == ("" if value is None else str(value))


def test_columns_that_are_all_unknown_keep_their_type(tmp_path):
    rows = [row | {"snr": None, "extra": "x"} for row in make_rows(num_samples=(1,))]
    path = tmp_path / "rows.parquet"
    columns = list(rows[-1])
    path.write_bytes(parquet_of(rows, tuple(columns)))
    types = {f.name: str(f.type) for f in pyarrow.parquet.read_schema(path)}
    assert (types["snr"], types["step"], types["extra"]) == (
        *("double", "double", "string"),
    )
    assert (types["reason"], types["num_samples"]) == ("string", "int64")


def test_the_report_leads_with_the_findings_and_shows_every_figure(written):
    out, rows, found = written
    page = Page((out / "report.html").read_text())
    text = page.text
    start = text.index(typeset(found[0]))
    assert start < text.index("bias squared estimates")
    assert all(typeset(finding) in text for finding in found)
    assert "python -m experiments.x --y" in text
    assert "vimco needs K > 1" in text
    expected = FIGURES | {"split"}
    assert [tag for tag, _ in page.tags].count("img") == len(expected)
    for suffix in ("pdf", "png"):
        assert {p.stem for p in (out / "figures").glob(f"*.{suffix}")} == expected
    layers = {row["group"] for row in rows if "/" in row["group"]}
    assert layers
    assert layers <= set(page.cells)


def test_the_summary_keeps_the_findings_beside_what_it_is_given(written):
    out, _, found = written
    assert json.loads((out / "results.json").read_text()) == {
        "findings": found,
        "seed": 3,
    }


def test_overwriting_removes_all_that_is_written(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "copy")
    replacement.remove(tmp_path / "copy", run_folder.NAMES)
    assert list((tmp_path / "copy").iterdir()) == []


def test_figures_of_what_there_is():
    def names(rows):
        return set(comparison_figures(rows))

    rows = make_rows(num_samples=(1,), steps=(0, 5), bounds=("iwae",))
    replayed = ["replay_variance", "replay_bias_squared", "replay_rms_snr"]
    # Of a single K there are no curves against it.
    expected = FIGURES - set(comparison.CURVES) | {"split", *replayed}
    assert names(rows) == expected
    assert list(comparison_figures(rows))[:3] == replayed
    bare = [
        row
        | dict.fromkeys(("variance_data", "bias_squared", *comparison.COSTS.values()))
        for row in make_rows(num_samples=(1,))
    ]
    of_cost = {"frontier", "evaluations", "work_normalized_variance"}
    assert names(bare) == FIGURES - of_cost - {"bias"}
    assert names(make_rows(estimators=("vimco",), bounds=("elbo",))) == {"map"}


def test_a_forest_of_too_many_biases_shows_those_at_the_largest_k(monkeypatch):
    rows = make_rows(num_samples=(1, 4))

    def shown():
        forest = comparison_figures(rows)["bias"]().axes[0]
        return [text.get_text() for text in forest.get_yticklabels()]

    assert len(shown()) == 14
    monkeypatch.setattr(comparison, "MOST_BIASES", 20)
    assert len(shown()) == 7
    assert all("$K$ = 4" in name for name in shown())


def test_several_models_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "CURVES", ("variance",))
    rows = make_rows(models=("a", "b"), num_samples=(1,), bounds=("iwae",))
    for row in rows:  # fewer figures
        row |= dict.fromkeys(("variance_data", "seconds_per_gradient", "bias_squared"))
    variance_report.write(tmp_path, records(rows), {}, command="", summary={})
    folders = {path.name for path in (tmp_path / "figures").iterdir()}
    assert folders == {"a_M_1_batch_of_4", "b_M_1_batch_of_4"}


def test_the_terminal_shows_the_cells_the_refusals_and_the_findings(capsys):
    rows = make_rows(layers=True)
    rows[0] |= {"bias_squared": None, "seconds_per_gradient": float("nan")}
    variance_report.print_rows(records(rows))
    text = capsys.readouterr().out
    assert text.count("vimco needs K > 1") == 1
    assert text.count(variance_report.EXPLAINED) == 1
    assert "layers" not in text
    assert all(finding in text for finding in findings(rows))
    assert "evaluations" in text
    table = [line.split() for line in text.splitlines() if " encoder " in line]
    cells = [line[:5] for line in table if line[0] in ("elbo", "iwae")]
    expected = [
        [row["bound"], row["estimator"], str(row["num_samples"]), "encoder"]
        for row in rows
        if row["group"] == "encoder"
    ]
    assert [cell[:4] for cell in cells] == expected
    shown = text[: text.index(variance_report.EXPLAINED)]
    assert max(map(len, shown.splitlines())) <= 160


def test_columns_that_do_not_fit_are_left_out_and_no_number_is_cut(capsys):
    wide = {"model": "m" * 30, "bound": "b" * 30, "estimator": "e" * 30}
    rows = make_rows(num_samples=(64,), bounds=("iwae",))
    rows = [row | wide for row in rows] + [row | {"model": "x"} for row in rows]
    variance_report.print_rows(records(rows))
    text = capsys.readouterr().out
    table = text[: text.index("refused") if "refused" in text else None]
    assert "variance" in table
    assert "variance × evaluations" not in table
    assert "\N{HORIZONTAL ELLIPSIS}" not in table
    for row in rows:
        if row["status"] != "refused":
            assert estimate(row, "variance") in table
