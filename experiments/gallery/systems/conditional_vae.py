"""The conditional VAE: images of a given class."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.gallery.entry import Entry, Shown, Trained, test_objective
from experiments.gallery.judges.classifier import (
    Classifier,
    Labelled,
    judge,
    labelled_images,
)
from experiments.gallery.pictures.by_class import (
    analogies,
    one_of_each_class,
    samples_by_class,
)
from experiments.training.config import Config
from vaejax.plotting import Table

WANTED = 0.95
JUDGED = 1000  # samples of every class
SAMPLES = 12  # samples of every class, in the figure


COMMON = Config(
    dataset="mnist",
    model="conditional_vae",
    estimator="pathwise",
    eval_num_samples=100,
    eval_examples=1000,
)


def _show(trained: Mapping[str, Trained]) -> Shown:
    own = trained["all_labels"]
    classifier = judge(own.config)
    test = labelled_images(own.config, "test")
    real = classifier.accuracy(test)
    by_class = _accuracies(own, classifier)
    accuracy = float(by_class.mean())
    return Shown(
        numbers={
            "accuracy on samples": accuracy,
            "accuracy on test images": real,
            "lowest accuracy of a class": float(by_class.min()),
            "test ELBO": test_objective(own)["elbo"],
        },
        finding=(
            f"a classifier trained on real images, right for {real:.1%} of the test "
            f"images, finds the class that was asked for in {accuracy:.1%} of "
            f"{by_class.size * JUDGED:,} samples, "
            f"{'above' if accuracy > WANTED else 'not above'} the {WANTED:.0%} to be "
            f"shown; least often, {by_class.min():.1%}, in those of "
            f"{int(by_class.argmin())}."
        ),
        tables=[
            Table(
                ["class", "share of samples that show it"],
                [[str(label), share] for label, share in enumerate(by_class)],
                f"What the classifier finds in {JUDGED:,} samples of each class.",
            )
        ],
        figures=_pictures(own, test),
    )


def _accuracies(trained: Trained, classifier: Classifier) -> Float[np.ndarray, " C"]:
    """The share of every class's samples, bits like the data, that show the class."""
    model, params = trained.model, trained.params

    def sample(key: Array, y: Array) -> Array:
        z_key, x_key = jax.random.split(key)
        z = model.latent_prior.sample(z_key, model.prior(params, y))
        return model.likelihood.sample(x_key, model.decode(params, z, y))

    assert model.labels.num_classes is not None
    y = jnp.repeat(jnp.arange(model.labels.num_classes), JUDGED)
    x = jax.vmap(sample)(jax.random.split(jax.random.key(0), len(y)), y)
    right = classifier.classes(x) == np.asarray(y)
    return right.reshape(-1, JUDGED).mean(1)


def _pictures(trained: Trained, test: Labelled) -> list[Figure]:
    """Samples of every class, and test images decoded as every class."""
    model, params = trained.model, trained.params
    num_classes = model.labels.num_classes
    assert num_classes is not None

    def decode(z: Array, y: Array) -> Array:
        return model.likelihood.mean(model.decode(params, z, y))

    keys = jax.random.split(jax.random.key(1), SAMPLES)
    prior = model.prior(params, jnp.zeros((), int))
    z = jax.vmap(lambda key: model.latent_prior.sample(key, prior))(keys)
    shown = one_of_each_class(test, num_classes)
    codes = jax.vmap(lambda one: model.posterior.mean(model.encode(params, one)))
    return [
        samples_by_class(decode, z, num_classes),
        analogies(decode, shown.x, codes(shown), num_classes),
    ]


conditional_vae = Entry(
    title="Conditional VAE",
    text=(
        "Encoder and decoder are given the label (Kingma et al. 2014, "
        "arXiv:1406.5298; Sohn, Lee and Yan 2015), so that z holds what the label "
        "does not say, and a sample shows the class that is asked for. The paper's "
        "networks have 500 hidden units in a layer and 50 latents, the short preset's "
        "256 and 4: with 10, fewer samples showed the class asked for."
    ),
    presets={
        "short": {
            "all_labels": dataclasses.replace(
                COMMON,
                model_settings=("hidden=256,256", "latent_dim=4"),
                batch_size=200,
                learning_rate=2e-3,
                epochs=12,
            )
        },
        "paper": {
            "all_labels": dataclasses.replace(
                COMMON, model_settings=("latent_dim=50",), epochs=100
            )
        },
    },
    show=_show,
)
