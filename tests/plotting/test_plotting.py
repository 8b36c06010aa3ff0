"""Figures show the values given, and a report needs no other file."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from pages import Page
from variance_rows import bias_of, records

from vaejax import plotting
from vaejax.benchmark.findings import Finding
from vaejax.core import VaejaxError
from vaejax.plotting import Section, Table
from vaejax.plotting.images import mosaic
from vaejax.plotting.style import typeset
from vaejax.plotting.tables import MINUS, MISSING


def epoch_row(epoch, validated=True):
    train = {"bound": -90.0 - 10 / epoch, "log_px_z": -65.0, "kl": 25.0 + 10 / epoch}
    row = {"epoch": epoch, "step": 600 * epoch, "train": train}
    return row | ({"validation": {"bound": train["bound"] - 1}} if validated else {})


def cell(**changes):
    """One row as `csv.DictReader` gives it: every value is text."""
    row = {
        "model": "linear_gaussian",
        "bound": "iwae",
        "estimator": "dreg",
        "num_samples": "8",
        "group": "encoder",
        "status": "unbiased",
        **bias_of(0.001, 0.01),
        "variance": "0.5",
        "snr": "3.0",
        "cosine": "-0.2",
        "work_normalized_variance": "0.01",
    }
    return {name: str(value) for name, value in (row | changes).items()}


def refused(**changes):
    numbers = (*bias_of(0, 0), "variance", "snr", "cosine")
    return cell(status="refused", **changes) | dict.fromkeys(numbers, "")


def lines(axes):
    """The labelled lines of a panel as {label: [points, 2]}."""
    named = (line for line in axes.lines if not line.get_label().startswith("_"))
    return {line.get_label(): line.get_xydata() for line in named}


def images(count=5, height=7, width=4, channels=1):
    shape = (count, height, width, channels)
    return np.random.default_rng(0).uniform(size=shape)


# ---- training curves


def test_training_curves_draw_the_rows():
    rows = [epoch_row(epoch, validated=epoch % 2 == 0) for epoch in range(1, 7)]
    bound, reconstruction, kl = plotting.training_curves(rows).axes
    train, validation = lines(bound).values()
    assert train.tolist() == [[r["epoch"], r["train"]["bound"]] for r in rows]
    assert validation.tolist() == [
        [r["epoch"], r["validation"]["bound"]] for r in rows[1::2]
    ]
    assert next(iter(lines(reconstruction).values()))[:, 1].tolist() == [-65.0] * 6
    assert "train: 26.67" in lines(kl)


def test_training_curves_draw_what_there_is():
    only_bound = [{"epoch": 1, "train": {"bound": -90.0}, "validation": None}]
    (axes,) = plotting.training_curves(only_bound).axes
    assert lines(axes) == {
        f"train: {MINUS}90.00": pytest.approx(np.array([[1.0, -90.0]]))
    }
    with pytest.raises(VaejaxError, match="no row holds any of"):
        plotting.training_curves([{"epoch": 1, "train": {"loss": 1.0}}])
    with pytest.raises(VaejaxError, match="no rows"):
        plotting.training_curves([])


def test_bound_curves_draw_every_run_in_both_splits():
    rows = [
        {"epoch": e, "train": {"bound": -90.0 / e}, "validation": {"bound": -95.0 / e}}
        for e in (1, 2)
    ]
    figure = plotting.bound_curves({"a": rows, "b": rows[:1], "none": [{"epoch": 1}]})
    for axes, first in zip(figure.axes, (-90, -95), strict=True):
        assert [list(line.get_ydata()) for line in axes.lines] == [
            [first, first / 2],
            [first],
        ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    many = plotting.bound_curves({str(i): rows for i in range(15)})
    assert len(many.axes[0].lines) == 15
    with pytest.raises(plotting.PlottingError, match="none of the runs"):
        plotting.bound_curves({"a": [{"epoch": 1}]})


def test_training_curves_mark_values_that_are_not_finite():
    values = [-90.0, float("nan"), None, float("-inf")]
    rows = [{"epoch": i, "train": {"bound": value}} for i, value in enumerate(values)]
    (axes,) = plotting.training_curves(rows).axes
    assert lines(axes)["train: not finite"][:, 0].tolist() == [1, 2, 3]
    plotting.png(axes.figure)


# ---- images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 3, 5])
def test_every_pixel_of_the_grid_is_a_pixel_of_an_image(channels, columns):
    data = images(channels=channels)
    tiles = mosaic(data, columns)
    for i, image in enumerate(data):
        top, left = i // columns * (7 + 1), i % columns * (4 + 1)
        drawn = tiles[top : top + 7, left : left + 4]
        np.testing.assert_array_equal(drawn, np.broadcast_to(image, (7, 4, 3)))
    assert (tiles[7::8] == 1).all(), "gutters are white"


def test_image_grid_clips_and_marks_pixels_that_are_not_finite():
    data = np.array([[[[-0.5], [1.5], [np.nan]]]])
    (axes,) = plotting.image_grid(data, "three pixels").axes
    drawn = axes.images[0].get_array()
    assert drawn[0, 0].tolist() == [0, 0, 0]
    assert drawn[0, 1].tolist() == [1, 1, 1]
    assert len(set(drawn[0, 2].tolist())) == 3, "a colour, not a grey"
    assert axes.get_title(loc="left") == "three pixels"


def test_data_that_are_no_images_are_drawn_as_rows():
    data = np.random.default_rng(0).normal(size=(3, 6))
    axes = plotting.image_grid(data, "rows").axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), data)
    for i, panel in enumerate(plotting.reconstructions(data, 2 * data).axes):
        np.testing.assert_array_equal(lines(panel)["data"][:, 1], data[i])
        np.testing.assert_array_equal(lines(panel)["reconstruction"][:, 1], 2 * data[i])


def test_reconstructions_stand_under_their_originals():
    data = images(count=13)
    bands = plotting.reconstructions(data, data / 2).axes
    assert len(bands) == 2
    for first, band in zip((0, 10), bands, strict=True):
        drawn = band.images[0].get_array()
        np.testing.assert_array_equal(drawn[:7, :4], data[first].repeat(3, axis=-1))
        np.testing.assert_array_equal(drawn[8:, :4], data[first].repeat(3, -1) / 2)
    assert (bands[1].images[0].get_array()[:, 15:] == 1).all(), "nothing after the last"


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 8, 8, 2), float, "C 1 or 3"),
        ((8,), float, "shape"),
        ((0, 8, 8, 1), float, "empty"),
        ((2, 8, 8, 1), np.uint8, "images / 255"),
    ],
)
def test_image_grid_refuses(shape, dtype, message):
    with pytest.raises(VaejaxError, match=message):
        plotting.image_grid(np.full(shape, 255, dtype), "title")


def test_image_rows_stand_below_each_other_by_name():
    data = images(count=3)
    (axes,) = plotting.image_rows({"data": data, "half": data / 2}, "two rows").axes
    drawn = axes.images[0].get_array()
    np.testing.assert_array_equal(drawn[:7, :4], data[0].repeat(3, axis=-1))
    np.testing.assert_array_equal(drawn[8:, :4], data[0].repeat(3, -1) / 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["data", "half"]
    for wrong in ({}, {"data": data, "more": images(count=4)}):
        with pytest.raises(VaejaxError, match=r"give one or more, all \[N, H, W, C\]"):
            plotting.image_rows(wrong, "nothing")


def test_bars_by_rank_are_the_numbers_in_order():
    values = {"a": [0.1, 0.6, 0.3], "b": [1.0]}
    figure = plotting.bars_by_rank(values, "share", "codes", {"a": 0.5, "b": 1.0})
    for axes, (name, of) in zip(figure.axes, values.items(), strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == sorted(of, reverse=True)
        assert axes.get_title(loc="left") == name
    assert figure.axes[0].lines[0].get_ydata() == [0.5, 0.5]
    for wrong in ({}, {"a": []}):
        with pytest.raises(VaejaxError, match="each with numbers"):
            plotting.bars_by_rank(wrong, "share", "codes")


def test_bars_by_layer_stand_side_by_side_at_every_layer():
    values = {"a": [5.0, 2.0], "b": [4.0, 3.0]}
    (axes,) = plotting.bars_by_layer(values, "active units").axes
    for bars, heights in zip(axes.containers, values.values(), strict=True):
        assert [bar.get_height() for bar in bars] == heights
        assert [round(bar.get_center()[0]) for bar in bars] == [1, 2]
    a, b = (bars[0].get_center()[0] for bars in axes.containers)
    assert a < 1 < b
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert (names, axes.get_ylabel()) == (list(values), "active units")
    for wrong in ({}, {"a": [1.0], "b": [1.0, 2.0]}):
        with pytest.raises(VaejaxError, match="give one model or more, of equally"):
            plotting.bars_by_layer(wrong, "active units")


def test_topic_coherences_are_in_order_the_best_first():
    values = {"a": [0.1, 0.6, -0.1], "b": np.array([0.25, 0.75])}
    (axes,) = plotting.topic_coherences(values).axes
    assert {label: line.tolist() for label, line in lines(axes).items()} == {
        "a, mean 0.20": [[1, 0.6], [2, 0.1], [3, -0.1]],
        "b, mean 0.50": [[1, 0.75], [2, 0.25]],
    }
    with pytest.raises(VaejaxError, match="topic_coherences"):
        plotting.topic_coherences({})


def test_rate_distortion_joins_what_has_an_equal_elbo():
    points = {"a": (0.0, 4.0), "b": (1.0, 3.0), "c": (2.0, 1.0)}
    rows = [{"name": n, "rate": r, "distortion": d} for n, (r, d) in points.items()]
    (axes,) = plotting.rate_distortion(rows).axes
    curve, *dotted = (line.get_xydata() for line in axes.lines)
    assert curve.tolist() == [list(point) for point in points.values()]
    assert [set(line.sum(1).tolist()) for line in dotted] == [{3.0}, {4.0}]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["equal ELBO"]


def test_a_heat_map_writes_every_number_into_its_cell():
    values = {"first": [0.25, 1.0], "second": [0.5, -1.0]}
    axes, bar = plotting.heat_map(
        values, ["a", "b"], "share", across="letter", span=(0.0, 1.0)
    ).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), list(values.values()))
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[1, 0] == "1.00"
    assert cells[1, 1] == f"{MINUS}1.00"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(values)
    assert (axes.get_xlabel(), bar.get_ylabel()) == ("letter", "share")
    for wrong in ({}, {"first": [0.5]}):
        with pytest.raises(VaejaxError, match="a number for each column"):
            plotting.heat_map(
                wrong, ["a", "b"], "share", across="letter", span=(0.0, 1.0)
            )


def test_vector_fields_draw_every_arrow_at_one_scale():
    points = np.stack(np.meshgrid(range(3), range(3)), -1).reshape(-1, 2)
    density, field = points.sum(1), points - 1.0
    figure = plotting.vector_fields(
        points, density, {"one": field, "two": 2 * field}, "two fields"
    )
    one, two = (
        next(part for part in axes.collections if isinstance(part, Quiver))
        for axes in figure.axes
    )
    np.testing.assert_array_equal(np.stack([one.U, one.V], 1), field)
    np.testing.assert_array_equal(np.stack([two.U, two.V], 1), 2 * field)
    assert one.scale == two.scale
    for wrong in ({}, {"one": field[1:]}):
        with pytest.raises(VaejaxError, match=r"give \[N, 2\] and one or more fields"):
            plotting.vector_fields(points, density, wrong, "nothing")


def test_reconstructions_refuse_another_shape():
    with pytest.raises(VaejaxError, match="same shape"):
        plotting.reconstructions(images(), images(count=4))


def test_densities_share_a_scale_and_stand_the_right_way_round():
    grids = {"a": np.zeros((3, 3)), "b": np.zeros((3, 3))}
    grids["a"][2, 0], grids["b"][0, 1] = 4.0, 1.0  # a has its mass at z = (2, -2)
    figure = plotting.densities(grids, 2.0, "two densities")
    for axes, (name, grid) in zip(figure.axes[:2], grids.items(), strict=True):
        (drawn,) = axes.images
        assert axes.get_title(loc="left") == name
        assert drawn.get_clim() == (0.0, 4.0)
        assert drawn.get_extent() == [-2, 2, -2, 2]
        np.testing.assert_array_equal(drawn.get_array(), grid.T)
        assert drawn.origin == "lower"
    for wrong in ({}, {"a": np.zeros((2, 3))}, {"a": np.zeros(3)}):
        with pytest.raises(plotting.PlottingError, match="give one or more"):
            plotting.densities(wrong, 2.0, "nothing")


# ---- latent space


def test_latent_space_of_two_dimensions_is_the_means():
    means = np.random.default_rng(0).normal(size=(30, 2))
    labels = np.arange(30) % 3
    (axes,) = plotting.latent_space(means, labels).axes
    for label, drawn in enumerate(axes.collections):
        np.testing.assert_array_equal(drawn.get_offsets(), means[labels == label])
        assert drawn.get_label() == str(label)


def test_latent_space_names_the_variance_that_its_components_explain():
    key = np.random.default_rng(0)
    basis = np.linalg.qr(key.normal(size=(6, 6)))[0]
    scores = key.normal(size=(50, 6))
    scores -= scores.mean(axis=0)
    scores = np.linalg.qr(scores)[0] * np.sqrt([70, 20, 10, 0, 0, 0])
    (axes,) = plotting.latent_space(scores @ basis.T).axes
    assert "(70% of variance)" in axes.get_xlabel()
    assert "(20% of variance)" in axes.get_ylabel()
    drawn = axes.collections[0].get_offsets()
    np.testing.assert_allclose(np.abs(drawn), np.abs(scores[:, :2]), atol=1e-9)


def test_latent_space_of_one_dimension_counts_every_example():
    means = np.random.default_rng(0).normal(size=(40, 1))
    (axes,) = plotting.latent_space(means, ["a"] * 10 + ["b"] * 30).axes
    steps = {patch.get_label(): patch.get_xy() for patch in axes.patches}
    counts = {name: corners[1:-1:2, 1].sum() for name, corners in steps.items()}
    assert counts == {"a": 10, "b": 30}


def test_latent_space_of_odd_data():
    plotting.png(plotting.latent_space([[0.0, 1.0, 2.0]], ["only"]))
    plotting.png(plotting.latent_space(np.ones((4, 5))))
    scale = plotting.latent_space(np.eye(30)[:, :2], np.linspace(0, 1, 30))
    assert len(scale.axes) == 2, "many labels are a scale with a colour bar"
    means = np.ones((3, 2))
    means[1] = np.nan
    (axes,) = plotting.latent_space(means).axes
    assert axes.get_title(loc="left") == "1 of 3 means are not finite"


@pytest.mark.parametrize(
    ("means", "labels", "message"),
    [
        (np.zeros(3), None, "must be"),
        (np.zeros((3, 2)), [1, 2], "labels"),
        (np.zeros((30, 2)), [f"name {i}" for i in range(30)], "at most 20"),
    ],
)
def test_latent_space_refuses(means, labels, message):
    with pytest.raises(VaejaxError, match=message):
        plotting.latent_space(means, labels)


# ---- gradients


def test_gradient_statistic_draws_a_line_per_estimator_in_order_of_k():
    rows = [
        cell(estimator=e, bound=b, num_samples=k, variance=v / k, group=g)
        for v, (e, b) in enumerate([("dreg", "elbo"), ("stl", "iwae")], start=1)
        for k in (64, 1, 8)
        for g in ("encoder", "decoder")
    ]
    rows.append(refused(estimator="loo"))
    figure = plotting.gradient_statistic(records(rows), "variance")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        *("elbo, encoder", "elbo, decoder", "iwae, encoder", "iwae, decoder")
    ]
    for axes in figure.axes[2:]:
        assert set(lines(axes)) == {"stl"}
        np.testing.assert_allclose(
            lines(axes)["stl"], [[1, 2], [8, 2 / 8], [64, 2 / 64]]
        )
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_ylim() == figure.axes[0].get_ylim(), "one scale a group"
    axes = plotting.gradient_statistic(records(rows), "cosine", "decoder").axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_title(loc="left") == "elbo, decoder"


def test_gradient_statistic_shows_a_variance_of_zero():
    rows = [cell(num_samples=1, variance=0), cell(num_samples=8, variance=1e-3)]
    (axes,) = plotting.gradient_statistic(records(rows), "variance").axes
    assert axes.get_yscale() == "symlog"
    low, _ = axes.get_ylim()
    assert low <= 0


def test_gradient_statistic_of_many_groups_and_missing_numbers():
    rows = [cell(group=f"layer {i}", snr="" if i else "nan") for i in range(4)]
    figure = plotting.gradient_statistic(records(rows), "snr")
    assert len(figure.axes) == 4
    plotting.png(figure, dots_per_inch=30)


def test_gradient_statistic_keeps_models_apart():
    rows = [cell(), cell(model="gaussian_mlp")]
    (axes,) = plotting.gradient_statistic(records(rows), "snr").axes
    assert set(lines(axes)) - {r"asymptotic: $\propto K^{\pm 1/2}$"} == {
        "dreg (linear_gaussian)",
        "dreg (gaussian_mlp)",
    }


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([cell()], ("entropy",), "use one of"),
        ([cell()], ("variance", "prior"), "encoder"),
        ([refused()], ("variance",), "every cell was refused"),
        ([], ("variance",), "no rows"),
    ],
)
def test_gradient_statistic_refuses(rows, settings, message):
    with pytest.raises(VaejaxError, match=message):
        plotting.gradient_statistic(records(rows), *settings)


def test_bias_forest_fills_only_biases_above_the_noise_of_all():
    rows = [
        cell(estimator="pathwise", **bias_of(-0.01, 0.01)),
        cell(estimator="stl", **bias_of(0.5, 0.01), status="biased"),
        cell(estimator="just", **bias_of(0.0205, 0.01)),
        refused(estimator="loo", num_samples=1),
        refused(estimator="loo", num_samples=8),
    ]
    figure = plotting.bias_forest(records(rows))
    (axes,) = figure.axes
    spares, excludes = (drawn.lines[0].get_xydata() for drawn in axes.containers)
    np.testing.assert_allclose(spares, [[-1, 0], [2.05, 2]])
    np.testing.assert_allclose(excludes, [[50, 1]])
    bars = axes.containers[1].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bars[:, 0], [50 - 1.96, 50 + 1.96], rtol=1e-4)
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == [f"iwae, {name}, $K$ = 8" for name in ("pathwise", "stl", "just")]
    assert figure.get_supxlabel() == "Refused: iwae, loo (K = 1, 8)"
    assert "1 of 3 are more than noise" in figure.get_label()


@pytest.mark.parametrize(
    "rows",
    [
        [refused()],
        [cell(**dict.fromkeys(bias_of(0, 0), ""))],
        [cell(**bias_of(0, 0))],
        [cell(**bias_of(1e-9, 1e-12)), cell(**bias_of(1e6, 1), group="g")],
        [cell(estimator=f"e{i}", group=f"g{i % 3}") for i in range(18)],
    ],
)
def test_bias_forest_of_odd_rows(rows):
    plotting.png(plotting.bias_forest(records(rows)), dots_per_inch=30)


def test_scores_join_the_curve_in_order_and_name_the_others():
    rows = [
        {"name": "high", "curve": True, "distortion": 9.0, "mig": 0.1},
        {"name": "other", "curve": False, "distortion": 7.0, "mig": 0.5},
        {"name": "low", "curve": True, "distortion": 5.0, "mig": 0.2},
    ]
    (axes,) = plotting.scores_by_distortion(rows, {"mig": "MIG"}).axes
    curve, point = axes.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[5.0, 0.2], [9.0, 0.1]])
    np.testing.assert_array_equal(point.get_xydata(), [[7.0, 0.5]])
    assert [text.get_text() for text in axes.texts] == ["low", "high"]
    assert point.get_label() == "other"
    with pytest.raises(VaejaxError, match="no rows"):
        plotting.scores_by_distortion([], {"mig": "MIG"})


def test_log_likelihoods_are_drawn_with_their_errors():
    rows = [
        {"name": "vae", "log_likelihood": -91.2, "monte_carlo_error": 0.1},
        {"name": "no error", "log_likelihood": -89.0},
        {"name": "diverged", "log_likelihood": float("nan"), "monte_carlo_error": 1.0},
    ]
    (axes,) = plotting.log_likelihood_bars(rows).axes
    points, _, (bars,) = axes.containers[0].lines
    np.testing.assert_array_equal(points.get_xdata(), [-91.2, -89.0, np.nan])
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [-91.3, -91.1])
    assert [text.get_text() for text in axes.texts] == [
        f"{MINUS}91.20",
        f"{MINUS}89.00",
    ]


# ---- files


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_same_data_give_the_same_bytes(tmp_path, suffix, start):
    first, second = (
        plotting.save(
            plotting.latent_space(np.eye(6), list("aabbcc")), tmp_path / f"{i}.{suffix}"
        ).read_bytes()
        for i in range(2)
    )
    assert first == second
    assert first.startswith(start)
    assert len(list(tmp_path.iterdir())) == 2, "no temporary file stays behind"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        plotting.write_report(path, title="new", lead=[], sections=[])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_save_refuses_an_unknown_suffix(tmp_path):
    with pytest.raises(VaejaxError, match=r"\.png"):
        plotting.save(Figure(), tmp_path / "figure.gif")


def test_a_notebook_shows_a_figure_without_pyplot():
    script = (
        "import sys; from vaejax import plotting;"
        "figure = plotting.image_grid([[0.0, 1.0]], 'a row');"
        "assert figure._repr_png_().startswith(b'\\x89PNG');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# ---- report


NASTY = "</script><script>alert(1)</script> & \"quoted\" 'it' <b>"


def write(path, **changes):
    figure = plotting.image_grid(images(), "five images")
    figure.set_label(f"caption {NASTY}")
    table = Table(["name", NASTY], [[NASTY, 1.0], ["b", float("nan")]], NASTY)
    section = Section(f"title {NASTY}", f"one {NASTY}\n\ntwo", [table], [figure], NASTY)
    given = {"title": NASTY, "lead": [f"The answer. {NASTY}"], "sections": [section]}
    return plotting.write_report(path, **given | changes).read_text()


def test_a_report_refers_to_nothing_outside_itself(tmp_path):
    text = write(tmp_path / "new" / "report.html")
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "base", "object", "embed")
        for name in ("src", "href", "srcset", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    policy = [a for _, a in page.tags if a.get("http-equiv")]
    assert policy[0]["content"].startswith("default-src 'none'")


def test_a_report_escapes_everything_and_answers_first(tmp_path):
    text = write(tmp_path / "report.html")
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [tag for tag, _ in page.tags if tag == "b"]
    # Title (twice), lead, section, text, column, cell, two captions, command.
    assert page.text.count(NASTY) == 10
    (image,) = (attrs for tag, attrs in page.tags if tag == "img")
    assert image["alt"] == f"caption {NASTY}"
    assert page.text.index("The answer.") < page.text.index("title ")
    assert write(tmp_path / "again.html") == text


def test_a_report_shows_commands_and_code(tmp_path):
    section = Section("Train", "Use `dreg`.", command="python -m x \\\n  --y $HOME")
    text = write(tmp_path / "report.html", sections=[section])
    assert "<pre>python -m x \\\n  --y $HOME</pre>" in text
    assert "<p>Use <code>dreg</code>.</p>" in text


def test_table_numbers_are_aligned_rounded_alike_and_sortable(tmp_path):
    rows = [
        ["vae", -91.2, "-91.2 ± 0.1", 3e-7, 1000, True],
        ["iwae", -108.345, f"{MINUS}88.6 ± 0.1", 2.0, 5, False],
        ["none", None, "", np.float32("nan"), np.int64(7), True],
    ]
    table = Table(["name", "value", "text", "spread", "count", "flag"], rows)
    text = write(tmp_path / "report.html", sections=[Section("s", tables=[table])])
    page = Page(text)
    assert page.cells == [
        *(
            "vae",
            f"{MINUS}91.20",
            f"{MINUS}91.2 ± 0.1",
            f"3e{MINUS}07",
            "1,000",
            "True",
        ),
        *("iwae", f"{MINUS}108.34", f"{MINUS}88.6 ± 0.1", "2", "5", "False"),
        *("none", MISSING, MISSING, MISSING, "7", "True"),
    ]
    cells = [attrs for tag, attrs in page.tags if tag == "td"]
    assert [cell.get("class") for cell in cells[:6]] == [None, *["number"] * 4, None]
    assert [cell["data-key"] for cell in cells[6:12]] == [
        *("iwae", "-108.345", "-88.6", "2.0", "5.0", "False")
    ]
    assert [cell["data-key"] for cell in cells[13:16]] == ["", "", ""]


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        (["9,874", "12,345 ± 3", "1,234,567.5"], ["9874", "12345", "1234567.5"]),
        (["999", f"{MINUS}1,000", "+2,500"], ["999", "-1000", "+2500"]),
        (["1,2", "300,30", "7"], None),  # no number is written so: all are text
    ],
)
def test_numbers_with_separators_sort_by_all_of_their_digits(cells, keys, tmp_path):
    table = Table(["size"], [[cell] for cell in cells])
    page = Page(
        write(tmp_path / "report.html", sections=[Section("s", tables=[table])])
    )
    found = [attrs["data-key"] for tag, attrs in page.tags if tag == "td"]
    assert found == (cells if keys is None else keys)


def test_an_open_question_is_quieter_and_cautions_follow_the_answer(tmp_path):
    lead = [
        Finding("It is less.", "2 to 3, from -1", decided=True),
        Finding("Both are alike.", decided=False),
    ]
    text = write(tmp_path / "report.html", lead=lead, cautions=["Few draws."])
    assert f"<p>It is less <small>(2 to 3, from {MINUS}1).</small></p>" in text
    assert '<p class="open">Both are alike.</p>' in text
    assert text.index("Both are alike") < text.index("<li>Few draws.</li>")
    assert "<details" not in write(tmp_path / "report.html")


def test_figures_stand_in_one_panel_and_long_text_is_broken(tmp_path):
    pictures = [plotting.image_grid(images(), name) for name in "ab"]
    table = Table(["name", "reason"], [["a", "because " * 9]])
    section = Section("s", tables=[table], figures=pictures)
    page = Page(write(tmp_path / "report.html", sections=[section]))
    classes = [attrs.get("class") for _, attrs in page.tags]
    assert classes.count("figures") == 1
    assert classes.count("wide table") == 1
    assert classes.count("long") == 2  # a head and a cell
    images_shown = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images_shown) == 2
    assert all("style" not in attrs for attrs in images_shown), "no least width"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-86.3 ± 0.1", f"{MINUS}86.3 ± 0.1"),
        ("1e-05 to -.5", f"1e{MINUS}05 to {MINUS}.5"),
        (
            "2026-12-01, use --draws 5, Monte-Carlo",
            "2026-12-01, use --draws 5, Monte-Carlo",
        ),
    ],
)
def test_a_minus_sign_is_one(text, shown):
    assert typeset(text) == shown


def test_a_table_row_of_another_length_is_refused(tmp_path):
    broken = Section("s", tables=[Table(["a", "b"], [[1]])])
    with pytest.raises(VaejaxError, match="one cell per column"):
        write(tmp_path / "report.html", sections=[broken])
    assert list(tmp_path.iterdir()) == []


def test_empty_tables_and_reports_are_pages_too(tmp_path):
    text = write(tmp_path / "a.html", sections=[Section("s", tables=[Table("ab", [])])])
    Page(text)
    Page(write(tmp_path / "b.html", lead=[], sections=[]))
