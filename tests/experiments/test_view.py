"""One page of a trained model: sliders, extremes, and what it says in words."""

import base64
import io
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_run import tiny

from experiments import train, view
from experiments.training.load import load_trained
from vaejax.evaluation import posterior_means
from vaejax.plotting import PlottingError
from vaejax.plotting.slider import Slider, slider_html


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train.run(tiny(tmp_path_factory.mktemp("runs") / "run"))


def test_a_page_shows_the_test_images_and_scores_them(finished, tmp_path):
    config = view.Config(
        checkpoint=finished.out, examples=9, num_samples=5, out=tmp_path / "view"
    )
    found = view.run(config)
    saved = json.loads((config.out / "results.json").read_text())
    assert saved["num_examples"] == len(found.log_px) == 9
    assert saved["log_likelihood"] == pytest.approx(found.log_px.mean())
    page = found.report.read_text()
    assert page.count('type="range"') == len(found.mean_variance) == 2
    assert f"is {found.log_px.mean():.2f} nats".replace("-", "−") in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_traversal_moves_one_latent_and_keeps_the_others(finished):
    trained = load_trained(finished.out)
    model, params = trained.model, trained.params
    examples = jax.tree.map(lambda leaf: leaf[:3], trained.data.test)
    means = posterior_means(model, params, examples)
    positions, rows = view.traverse(trained, examples, means, 1)
    assert len(rows) == len(positions) == 13
    assert positions[6] == pytest.approx(means[:, 1].mean(), rel=1e-5)
    moved = jnp.array([means[2, 0], positions[3]])
    expected = model.likelihood.mean(model.decode(params, moved, None))
    np.testing.assert_allclose(rows[3][2], expected, rtol=1e-5)


def test_a_slider_holds_every_row_of_its_picture():
    rows = [np.full((2, 4, 4, 1), shade) for shade in (0.0, 0.4, 1.0)]
    shown = slider_html(Slider("latent <1>", (-1.0, 0.0, 2.5), rows))
    assert "latent &lt;1&gt; = <output>0.00</output>" in shown
    assert 'data-labels="−1.00 0.00 2.50"' in shown
    data = re.search(r"base64,([^\"]+)", shown)
    picture = imread(io.BytesIO(base64.b64decode(data[1])))[..., 0]
    assert picture.shape == (15, 9)  # 3 rows of 4 pixels and a gutter; 2 images
    np.testing.assert_allclose(picture[::5, 0], [0, 0.4, 1], atol=0.003)


@pytest.mark.parametrize(
    ("positions", "rows"),
    [
        ((0.0, 1.0), [np.zeros((2, 4, 4))]),
        ((0.0,), [np.zeros((2, 7))]),
        ((0.0, 1.0), [np.zeros((2, 4, 4)), np.zeros((3, 4, 4))]),
    ],
)
def test_a_slider_of_unequal_rows_is_refused(positions, rows):
    with pytest.raises(PlottingError, match="give a row for each"):
        slider_html(Slider("latent 1", positions, rows))
