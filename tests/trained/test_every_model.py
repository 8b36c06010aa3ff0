"""Every registered model through every function of a trained model."""

import re

import jax
import numpy as np
import pytest
from run_folders import KEY, SMALL, untrained

from vaejax import VaejaxError
from vaejax.models import MODELS

pytestmark = pytest.mark.slow

AUTOENCODERS = (
    *("autoencoder", "denoising_autoencoder", "sparse_autoencoder"),
    *("stacked_denoising_autoencoder", "masked_autoencoder", "vq_vae"),
)
WITH_WEIGHTS = (  # among the parameters of the posterior
    *("hierarchical_mlp", "ladder_mlp", "two_layer_gaussian"),
    *("two_layer_sigmoid_belief_network", "masked_autoencoder", "vq_vae"),
    *("denoising_autoencoder", "stacked_denoising_autoencoder"),
)
# The functions that refuse a model, by the model.
REFUSED: dict[str, set[str]] = {
    name: {
        what
        for what, models in {
            "classify": SMALL.keys() - {"m2", "vade"},
            "log_likelihood": AUTOENCODERS,
            "negative_log_likelihood": AUTOENCODERS,
            "encode_params": WITH_WEIGHTS,
            "interpolate": ("masked_autoencoder",),
        }.items()
        if name in models
    }
    for name in SMALL
}


def calls(run, x, y):
    """Every function of a run by name, with the shape of what it returns."""
    n, shape = len(x), run.recipe.data_shape
    return {
        "encode": (lambda: run.encode(x, y), None),
        "encode_sample": (lambda: run.encode(x, y, what="sample", key=KEY), None),
        "encode_params": (lambda: run.encode(x, y, what="params"), None),
        "decode": (lambda: run.decode(run.encode(x, y), y), (n, *shape)),
        "sample": (lambda: run.sample(KEY, 2, y and y[0]), (2, *shape)),
        "sample_x": (
            lambda: run.sample(KEY, 2, y and y[0], what="sample"),
            (2, *shape),
        ),
        "reconstruct": (lambda: run.reconstruct(x, y), (n, *shape)),
        "interpolate": (lambda: run.interpolate(x, x[::-1], 4, y), (n, 4, *shape)),
        "log_likelihood": (
            lambda: run.log_likelihood(x, y, num_samples=3).log_px,
            (n,),
        ),
        **{
            score: (
                lambda score=score: run.anomaly_score(x, y, score=score, num_samples=3),
                (n,),
            )
            for score in (
                "negative_log_likelihood",
                "reconstruction_probability",
                "reconstruction_error",
            )
        },
        "classify": (lambda: run.classify(x), (n, 2)),
    }


def test_every_model_is_here():
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_does_everything_or_refuses_it_by_a_sentence(name, tmp_path):
    run = untrained(tmp_path, name)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, *run.recipe.data_shape)).astype(np.uint8)
    if run.recipe.protocol == "counts":
        x = x // 50
    needs = run.model.labels.num_classes and not run.model.labels.unknown
    y = [0, 1, 1] if needs else None
    refused = {}
    for what, (call, shape) in calls(run, x, y).items():
        try:
            found = call()
        except VaejaxError as error:
            refused[what] = str(error)
            continue
        leaves = jax.tree.leaves(found)
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
        assert all(len(leaf) == 3 for leaf in leaves) or shape
        assert all(np.isfinite(leaf).all() for leaf in leaves), what
        assert shape is None or found.shape == shape, what
    assert refused.keys() == REFUSED[name]
    assert all(re.fullmatch(r"[^\n]+: [^\n]+[^.]", text) for text in refused.values())
