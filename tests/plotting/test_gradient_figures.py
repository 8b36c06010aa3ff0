"""Figures of gradient statistics: intervals, laws, frontiers, maps, splits, replays."""

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.stats import norm, t
from variance_rows import COSTS, ERROR, TIMING, bias_of, make_rows, records

from vaejax import plotting
from vaejax.benchmark import squared_norm_of_mean
from vaejax.benchmark.statistics import FALSE_ALARMS, interval, least_found, least_seen
from vaejax.core import VaejaxError
from vaejax.plotting.frontier import frontier
from vaejax.plotting.style import line_style, series, typeset

pytestmark = pytest.mark.slow

STATISTICS = (
    *(
        "bias_squared",
        "variance",
        "rms_snr",
        "seconds_per_gradient",
        "work_normalized_variance",
    ),
    *("variance_data", "variance_latents"),
)


NORMAL_95 = norm.isf(0.025)  # of rows that have no folds


class figures:
    """The figures of a comparison, of lines."""

    def __getattr__(self, name):
        return lambda lines, *a, **k: getattr(plotting, name)(records(lines), *a, **k)


figures = figures()


def named(artists, label):
    return [artist for artist in artists if artist.get_label() == label]


def one(rows, **fixed):
    (row,) = [r for r in rows if all(r[name] == v for name, v in fixed.items())]
    return row


def without(rows, *names, value=None):
    return [row | dict.fromkeys(names, value) for row in rows]


# ---- intervals and laws


def test_a_band_is_the_interval_of_the_logarithm():
    rows = make_rows(bounds=("iwae",), estimators=("dreg",))
    axes = figures.gradient_statistic(rows, "variance").axes[0]
    corners = named(axes.collections, "_dreg")[0].get_paths()[0].vertices
    for k in (1, 4, 16, 64):
        row = one(rows, num_samples=k, group="encoder")
        ends = row["variance"] * np.exp([-NORMAL_95 * ERROR, NORMAL_95 * ERROR])
        at = corners[corners[:, 0] == k, 1]
        np.testing.assert_allclose([at.min(), at.max()], ends)


def test_few_folds_widen_a_band_by_students_t():
    rows = make_rows(bounds=("iwae",), estimators=("dreg",), num_samples=(1,))
    for folds, quantile in ((8, t.isf(0.025, 7)), (40, t.isf(0.025, 39))):
        low, high = interval([row | {"folds": folds} for row in rows], "variance")
        np.testing.assert_allclose(np.log(high / low), 2 * quantile * ERROR)


def test_an_unsafe_interval_is_marked_in_every_figure():
    rows = make_rows(bounds=("iwae",), estimators=("dreg", "pathwise"))
    unsafe = [row | {"safe": row["estimator"] != "dreg"} for row in rows]
    for draw in (
        lambda rows: figures.gradient_statistic(rows, "variance"),
        figures.bias_forest,
        figures.cost_frontier,
    ):
        for members, expected in ((rows, set()), (unsafe, {"interval unsafe"})):
            figure = draw(members)
            (legend,) = figure.legends
            texts = {text.get_text() for text in legend.get_texts()}
            assert texts & {"interval unsafe"} == expected
            marks = [
                len(line.get_xdata())
                for axes in figure.axes
                for line in named(axes.lines, "_unsafe")
            ]
            assert (sum(marks) > 0) == bool(expected)
    written = [text.get_text() for text in figures.estimator_map(unsafe).axes[0].texts]
    assert [text.endswith("†") for text in written] == [True, False]
    written = [text.get_text() for text in figures.variance_split(unsafe).axes[0].texts]
    assert [text.endswith("†") for text in written] == [True, False]


def test_the_cross_of_an_unsafe_bias_lies_above_its_point():
    rows = [row | {"safe": False} for row in make_rows(num_samples=(1,))]
    axes = figures.bias_forest(rows).axes[0]
    (cross,) = named(axes.lines, "_unsafe")
    points = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert points
    assert all(cross.get_zorder() > point.get_zorder() for point in points)
    assert all(cross.get_markersize() > point.get_markersize() for point in points)


def test_series_that_share_a_colour_differ_in_their_lines():
    looks = [(line_style(i), *series(i).values()) for i in range(30)]
    assert len(set(looks)) == 30


def test_a_cosine_has_a_plain_interval():
    rows = make_rows(bounds=("iwae",), estimators=("dreg",), num_samples=(1, 2))
    axes = figures.gradient_statistic(rows, "cosine").axes[0]
    corners = named(axes.collections, "_dreg")[0].get_paths()[0].vertices
    half = NORMAL_95 * ERROR * 0.99
    assert corners[:, 1].min() == pytest.approx(0.99 - half)


def test_the_laws_are_drawn_where_they_hold_and_nowhere_else():
    pooled = make_rows()
    parts = ("variance_data", "variance_latents")
    rows = without(pooled, *parts, *(f"{part}_stderr" for part in parts))
    figure = figures.gradient_statistic(rows, "snr")
    slopes = {}
    for axes in figure.axes:
        for line in axes.lines:
            if "propto" in str(line.get_label()):
                x, y = np.log(line.get_xydata()).T
                title = axes.get_title(loc="left")
                slopes.setdefault(title, []).append(np.polyfit(x, y, 1)[0])
    assert slopes == {
        "iwae, encoder": pytest.approx([-0.5, 0.5]),
        "iwae, decoder": pytest.approx([0.5, 0.5]),
    }
    last = one(rows, bound="iwae", estimator="dreg", num_samples=64, group="encoder")
    _, dreg = named(figure.axes[2].lines, r"asymptotic: $\propto K^{\pm 1/2}$")
    assert dreg.get_ydata()[-1] == pytest.approx(last["snr"])
    assert "thin lines" in figure.get_label()
    stepped = [row | {"step": 6} for row in rows]
    drawn = [row | {"reference": "dreg, 8,000 draws"} for row in rows]
    trained = [row._replace(trained=True) for row in records(rows)]
    for lawless in (records(pooled), records(stepped), records(drawn), trained):
        plain = plotting.gradient_statistic(lawless, "snr")
        assert not any("propto" in line.get_label() for line in plain.axes[2].lines)
        assert "thin lines" not in plain.get_label()
    variance = figures.gradient_statistic(rows, "variance")
    assert not any("propto" in line.get_label() for line in variance.axes[2].lines)


def test_the_noise_floor_is_drawn_where_it_matters():
    rows = make_rows(bounds=("iwae",), estimators=("dreg",))
    for draws, shown in ((2000, 0), (2, 1)):  # a floor of 0.018, and of 0.56
        of_draws = without(rows, "draws", value=draws)
        axes = figures.gradient_statistic(of_draws, "snr").axes[0]
        floors = named(axes.lines, "noise floor")
        assert len(floors) == shown
    assert floors[0].get_ydata()[0] == pytest.approx(np.sqrt(2 / (np.pi * 2)))


# ---- panels that coincide


def of_one_decoder(rows):
    """The rows, with the decoder's gradient the same for every estimator."""
    same = {}
    for row in rows:
        if row["group"] == "decoder":
            cell = tuple(row[n] for n in ("bound", "num_samples"))
            first = same.setdefault(cell, row)
            row |= {n: first[n] for n in first if n.startswith(("var", "bias"))}
            row["variance"] *= 1 + 1e-5  # rounding
    return rows


def test_panels_in_which_all_estimators_coincide_are_named_and_not_drawn():
    rows = of_one_decoder(make_rows())
    for name, axes in (
        ("gradient_statistic", 2),
        ("cost_frontier", 2),
        ("variance_split", 2),
        ("bias_forest", 1),
        ("estimator_map", 1),
    ):
        settings = ("variance",) * (name == "gradient_statistic")
        figure = getattr(figures, name)(rows, *settings)
        assert len(figure.axes) == axes, name
        titles = [panel.get_title(loc="left") for panel in figure.axes]
        assert all("encoder" in title for title in titles)
        note = " ".join((figure.get_suptitle() + figure.get_supxlabel()).split())
        figure.draw_without_rendering()
        for text in filter(None, (figure._suptitle, figure._supxlabel)):
            assert text.get_window_extent().x1 <= figure.bbox.x1, (name, "is cut")
        assert "coincide, and are not drawn: decoder (elbo, iwae)" in note
        plain = getattr(figures, name)(make_rows(), *settings)
        assert len(plain.axes) == 2 * axes
        assert "coincide" not in plain.get_suptitle() + plain.get_supxlabel()
    work = figures.gradient_statistic(rows, "work_normalized_variance")
    assert len(work.axes) == 2, "the noise of the time is no difference"


def test_a_single_estimator_and_equal_ones_everywhere_are_drawn():
    one_alone = make_rows(estimators=("dreg",))
    decoder = [r for r in of_one_decoder(make_rows()) if r["group"] == "decoder"]
    for rows in (one_alone, decoder):
        figure = figures.gradient_statistic(rows, "variance")
        assert len(figure.axes) == len({(r["bound"], r["group"]) for r in rows})
        assert figure.get_suptitle() == ""


# ---- biases


def estimates(vectors_of, runs=3000, folds=20):
    """The biases of many runs, with what is known of them, as rows."""
    key = np.random.default_rng(0)
    rows = []
    for _ in range(runs):
        found = squared_norm_of_mean(vectors_of(key, folds))
        rows.append(
            {"bias_squared": found.estimate}
            | {f"bias_squared_{name}": value for name, value in found._asdict().items()}
            | {"folds": folds}
        )
    return rows


@pytest.mark.parametrize("size", [1, 30])
def test_false_alarms_are_as_rare_as_is_said(size):
    """5% of 300 reports on 10 cells each may hold a false alarm: 15, or 27 at z = 3.2.

    Limits that are not corrected for the 10 cells, the negative control, give too many.
    """
    rows = estimates(lambda key, n: key.normal(size=(n, size)))
    reports = [rows[i : i + 10] for i in range(0, len(rows), 10)]
    allowed = FALSE_ALARMS * len(reports)
    allowed += 3.2 * np.sqrt(allowed * (1 - FALSE_ALARMS))

    def alarms(limits_of):
        return sum(
            any(
                row["bias_squared"] > limit
                for row, limit in zip(r, limits_of(r), strict=True)
            )
            for r in reports
        )

    assert alarms(least_seen) <= allowed
    if size == 30:
        assert alarms(lambda r: [least_seen([row])[0] for row in r]) > allowed


@pytest.mark.parametrize("tests", [1, 50])
def test_a_bias_that_is_called_detectable_is_found(tests):
    """95% of 400 runs or more find it, less 4 standard errors of that: 90.6%.

    Half of the bias is missed far more often; so is, among 50, what one test finds.
    """
    scale = np.sqrt(np.linspace(0.2, 2.0, 30))
    shape = scale / np.linalg.norm(scale)

    def planted(bias):
        return estimates(
            lambda key, n: scale * key.normal(size=(n, 30)) + np.sqrt(bias) * shape, 400
        )

    said = np.median([least_found([row] * tests)[0] for row in planted(0.0)])
    single = np.median([row["bias_squared_detectable"] for row in planted(0.0)])

    def found(bias):
        rows = planted(bias)
        return np.mean(
            [row["bias_squared"] > least_seen([row] * tests)[0] for row in rows]
        )

    assert found(said) > 0.906
    assert found(said / 2) < 0.8
    if tests == 1:
        assert said == pytest.approx(single, rel=1e-3)
    else:
        assert found(single) < 0.8


def test_the_least_bias_seen_grows_with_the_tests_and_knows_its_limits():
    row = {"bias_squared": 0.0, "bias_squared_stderr": 1.0}
    single, many = least_seen([row])[0], least_seen([row] * 100)[0]
    assert single == pytest.approx(1.6449, rel=1e-4)
    assert many == pytest.approx(3.2905, rel=1e-4)
    known = row | {
        "bias_squared_noise": 1.0,
        "bias_squared_detectable": 3.2897,
    }  # without growth
    assert least_found([known])[0] == pytest.approx(2 * 1.6449, rel=1e-3)
    assert least_found([known] * 100)[0] == pytest.approx(3.2905 + 1.6449, rel=1e-3)
    assert np.isnan(least_found([row])).all()
    untested = [
        row | {"bias_squared": None},
        row | {"bias_squared_stderr": float("nan")},
    ]
    assert np.isnan(least_seen([*untested, row | {"bias_squared_stderr": 0.0}])).all()
    assert least_seen([*untested, row])[-1] == single, "what is not tested counts not"


# ---- frontier


def test_the_frontier_is_what_nothing_dominates():
    points = np.random.default_rng(0).uniform(size=(60, 2))
    found = {tuple(point) for point in frontier(points)}
    for point in points:
        dominated = any(
            (other <= point).all() and (other < point).any() for other in points
        )
        assert (tuple(point) in found) != dominated
    assert frontier(np.array([[1.0, 2.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [[1, 1]]


def test_cost_frontier_draws_every_estimator_and_no_biased_frontier():
    rows = make_rows(bounds=("iwae",))
    figure = figures.cost_frontier(rows)
    axes = figure.axes[0]
    points = [container.lines[0].get_xydata()[0] for container in axes.containers]
    for point, estimator in zip(points, COSTS, strict=True):
        row = one(rows, num_samples=64, group="encoder", estimator=estimator)
        expected = 1e6 * row["seconds_per_gradient"], row["variance"]
        np.testing.assert_allclose(point, expected)
    sides, upwards = (drawn.get_segments()[0] for drawn in axes.containers[0].lines[2])
    for ends, error in ((sides[:, 0], TIMING), (upwards[:, 1], ERROR)):
        assert np.ptp(np.log(ends)) == pytest.approx(2 * NORMAL_95 * error)
    (line,) = named(axes.lines, "_frontier")
    # Pathwise is the fastest and DReG of least variance; STL, between them, is biased.
    np.testing.assert_allclose(line.get_xydata()[1:-1], [points[0], points[2]])
    work = named(axes.lines, "_work")[0].get_xydata()
    assert np.ptp(work.prod(axis=1)) == pytest.approx(0, abs=1e-12)
    assert "K = 16" in figures.cost_frontier(rows, 16).get_label()
    counted = figures.cost_frontier(rows, cost="decoder_evaluations")
    assert counted.axes[-1].get_xlabel() == "decoder evaluations"


# ---- map


def test_estimator_map_marks_numbers_biases_and_refusals():
    rows = make_rows()
    figure = figures.estimator_map(rows)
    encoder = figure.axes[0]
    texts = {text.get_position(): text.get_text() for text in encoder.texts}
    names = [text.get_text() for text in encoder.get_yticklabels()]
    assert names == list(COSTS)
    for place, estimator in enumerate(COSTS):
        for bound, at in (("elbo", 0), ("iwae", 1)):
            cell = {"bound": bound, "estimator": estimator, "num_samples": 64}
            if (bound, estimator) == ("elbo", "vimco"):
                assert (at, place) not in texts
                continue
            row = one(rows, **cell, group="encoder")
            star = "*" * (row["status"] == "biased")
            assert texts[at, place] == typeset(f"{row['variance']:.2g}{star}")
    (hatched,) = named(encoder.patches, "refused")
    assert hatched.get_xy() == (-0.5, 2.5)
    assert hatched.get_hatch()
    low, high = (
        np.mean(patch.get_facecolor()[:3])
        for patch in (encoder.patches[2], encoder.patches[0])  # dreg, pathwise
    )
    assert low > high + 0.2, "darker is larger"
    blank = figures.estimator_map(make_rows(estimators=("vimco",), bounds=("elbo",)))
    assert blank.axes[0].get_title(loc="left") == "every cell is refused"


# ---- split


def test_variance_split_draws_the_shares_with_their_error():
    rows = make_rows(bounds=("iwae",))
    axes = figures.variance_split(rows).axes[0]
    data, latents = axes.containers[:2]
    np.testing.assert_allclose([bar.get_width() for bar in data], 0.3)
    np.testing.assert_allclose([bar.get_x() for bar in latents], 0.3)
    np.testing.assert_allclose([bar.get_width() for bar in latents], 0.7)
    # A share's error from parts that are known to 3% each, drawn at random.
    draws = 1 + ERROR * np.random.default_rng(0).normal(size=(2, 100_000))
    shares = 0.3 * draws[0] / (0.3 * draws[0] + 0.7 * draws[1])
    whisker = axes.containers[2].lines[2][0].get_segments()[0][:, 0]
    assert np.ptp(whisker) / 2 == pytest.approx(NORMAL_95 * shares.std(), rel=0.02)
    totals = [text.get_text() for text in axes.texts]
    first = one(rows, num_samples=64, group="encoder", estimator="pathwise")
    assert totals[0] == f"{first['variance']:.2g}"


# ---- names


LONG = "nvil:hidden=(20,20):normalize=True:decay=0.95"
OF_NAMES = {
    "bias_forest": figures.bias_forest,
    "estimator_map": figures.estimator_map,
    "cost_frontier": figures.cost_frontier,
    "variance_split": figures.variance_split,
    "variance": lambda rows: figures.gradient_statistic(rows, "variance"),
    "scaling_laws": lambda rows: plotting.scaling_laws(
        rows,
        [
            dict(row, axis="num_samples", slope=-0.5, low=-0.6, high=-0.4)
            for row in rows
        ],
        "num_samples",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize("name", OF_NAMES)
def test_names_with_settings_are_whole_in_every_figure(name, num_groups):
    names = {"dreg": LONG, "pathwise": "gumbel_softmax:temperature=0.3"}
    rows = [
        row | {"estimator": names[row["estimator"]], "plain_snr": 1.0, "safe": False}
        for row in make_rows(bounds=("elbo", "iwae"), estimators=tuple(names))
        if num_groups == 2 or row["group"] == "encoder"
    ]
    figure = OF_NAMES[name](rows)
    plotting.png(figure, dots_per_inch=40)
    named = [text for text in figure.findobj(Text) if LONG in text.get_text()]
    assert named
    canvas = figure.bbox.padded(1)
    legends = [text for found in figure.legends for text in found.get_texts()]
    for text in [*named, *legends]:
        box = text.get_window_extent()
        inside = canvas.contains(*box.min) and canvas.contains(*box.max)
        assert inside, text.get_text()
    for axes in figure.axes:
        assert axes.get_position().width * figure.get_figwidth() > 0.9


# ---- replay


def test_replay_curves_follow_the_steps_at_the_largest_k():
    rows = make_rows(bounds=("iwae",), steps=(1000, 0, 100))
    rows += make_rows(bounds=("iwae",), estimators=("dreg",))  # without a step
    figure = figures.replay_curves(rows, "snr", "encoder")
    (axes,) = figure.axes
    (line,) = named(axes.lines, "dreg")
    expected = [
        [step, one(rows, estimator="dreg", num_samples=64, step=step, group="encoder")]
        for step in (0, 100, 1000)
    ]
    expected = [[step, row["snr"]] for step, row in expected]
    np.testing.assert_allclose(line.get_xydata(), expected)
    assert axes.get_xlabel() == "training step"
    assert "K = 64" in figure.get_label()


def test_the_bias_along_training_is_linear_around_zero_and_logarithmic_beyond():
    """The linear zone, shaded, is the smallest interval; decades are labelled."""
    rows = make_rows(bounds=("iwae",), num_samples=(4,), steps=(0, 1, 2))
    for row in rows:
        if row["status"] != "refused":
            known = row["step"] > 0
            row |= bias_of(0.3 * row["step"], 1e-3) if known else bias_of(-1.5, 0.5)
    figure = figures.replay_curves(rows, "bias_squared", "encoder")
    (axes,) = figure.axes
    transform = axes.yaxis.get_transform()
    assert axes.get_yscale() == "symlog"
    assert transform.linthresh == pytest.approx(1.96e-3)
    assert list(axes.get_yticks()) == [-1, -0.1, -0.01, 0, 0.01, 0.1, 1]
    (line,) = named(axes.lines, "dreg")
    assert line.get_ydata() == pytest.approx([-1.5, 0.3, 0.6])
    (band,) = named(axes.collections, "_dreg")
    low = band.get_paths()[0].vertices[:, 1].min()
    assert low == pytest.approx(-1.5 - 1.96 * 0.5)


# ---- odd rows

FIGURES = {
    "cost_frontier": figures.cost_frontier,
    "estimator_map": figures.estimator_map,
    "variance_split": figures.variance_split,
    "replay_curves": lambda rows: figures.replay_curves(rows, "variance"),
    "replay_bias": lambda rows: figures.replay_curves(rows, "bias_squared"),
    "gradient_statistic": lambda rows: figures.gradient_statistic(rows, "rms_snr"),
    "bias_forest": figures.bias_forest,
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_what_is_missing_or_not_finite_is_left_out(draw):
    rows = make_rows(num_samples=(1, 4), steps=(0, 9))
    for i, row in enumerate(rows):
        if i % 3 and row["status"] != "refused":
            row |= dict.fromkeys(STATISTICS, (None, float("nan"), float("inf"))[i % 3])
        if not i % 2:
            row |= {f"{name}_stderr": None for name in STATISTICS}
    plotting.png(draw(rows), dots_per_inch=30)


@pytest.mark.parametrize(
    ("draw", "change", "message"),
    [
        ("cost_frontier", {"variance": 0}, "no cell has a positive variance"),
        ("cost_frontier", {"seconds_per_gradient": None}, "and cost"),
        ("variance_split", {"variance_data": None}, "no cell has its variance split"),
        ("replay_curves", {}, "no row has a step: measure"),
    ],
)
def test_a_figure_of_nothing_is_refused(draw, change, message):
    rows = [row | change for row in make_rows(num_samples=(1,))]
    with pytest.raises(VaejaxError, match=message):
        FIGURES[draw](rows)


def test_a_map_refuses_what_is_not_there():
    with pytest.raises(VaejaxError, match="unknown statistic 'nope': use one of"):
        figures.estimator_map(make_rows(num_samples=(1,)), "nope")
    with pytest.raises(VaejaxError, match="no rows to draw: estimator_map at K = 5"):
        figures.estimator_map(make_rows(num_samples=(1,)), num_samples=5)
