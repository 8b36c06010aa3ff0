"""MMD-VAE, WAE-MMD and adversarial autoencoder: the match of q(z) to the prior."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained, test_objective
from experiments.gallery.pictures.latents import decoded
from experiments.training.config import Config
from vaejax.core import Batch, Example
from vaejax.data import load
from vaejax.evaluation import TwoSampleTest, mmd_test
from vaejax.plotting import Table, image_rows
from vaejax.regularizers.draws import posterior_draws, prior_draws

SYSTEMS = {
    "autoencoder": "autoencoder, nothing added",
    "wae_mmd": "WAE-MMD",
    "mmd_vae": "MMD-VAE",
    "aae": "adversarial autoencoder",
}
CHOSEN_BY = 1000  # first test images, some of which chose the settings
TESTED = 2500  # other test images, one z of each, and draws of the prior
ROWS = SYSTEMS | {"autoencoder": "autoencoder", "aae": "adversarial"}  # figure rows
DRAWN = 10  # samples of each system


def _trainings(
    epochs: int, settings: tuple[str, ...], mmd: str, adversarial: tuple[str, ...]
) -> dict[str, Config]:
    def training(*regularizers: str, posterior: str = "point_mass") -> Config:
        return Config(
            dataset="mnist",
            model_settings=(*settings, f"posterior={posterior}"),
            bound="reconstruction",
            estimator="pathwise",
            regularizers=regularizers,
            epochs=epochs,
            eval_num_samples=10,
            eval_examples=CHOSEN_BY,
        )

    return {
        "autoencoder": training(),
        "wae_mmd": training("mmd", mmd),
        "mmd_vae": training("mmd", mmd, posterior="diagonal_normal"),
        # The discriminator has to keep up with the encoder.
        "aae": dataclasses.replace(
            training("adversarial", *adversarial),
            learning_rate=5e-4,
            auxiliary_rate=5e-3,
        ),
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    tests = {label: _two_sample(trained[label]) for label in SYSTEMS}
    tests_by_name = {SYSTEMS[label]: test for label, test in tests.items()}
    written = ", ".join(
        f"{name} {test.p_value:.3f}" for name, test in tests_by_name.items()
    )
    matched = [
        name for name, test in list(tests_by_name.items())[1:] if test.p_value > 0.05
    ]
    most = max(test.squared_mmd for test in list(tests.values())[1:])
    told_apart = tests["autoencoder"].p_value < 0.05
    distortion = {
        label: -test_objective(trained[label])["log_px_z"] for label in SYSTEMS
    }
    return Shown(
        numbers={
            f"{what} {SYSTEMS[label]}": value
            for label in SYSTEMS
            for what, value in (
                ("p-value", tests[label].p_value),
                ("squared MMD", tests[label].squared_mmd),
                ("distortion", distortion[label]),
            )
        },
        finding=(
            f"p-values of the two-sample test of {TESTED} codes and as many draws of "
            f"the prior: {written}. At the level 0.05 the aggregated posterior of "
            f"{' and of '.join(matched) or 'none'} is not told apart from the prior by "
            f"{TESTED} codes; that of the autoencoder without a term is "
            f"{'told apart' if told_apart else 'not told apart either'}. The squared "
            f"MMD is {tests['autoencoder'].squared_mmd:.5f} without a term and at most "
            f"{most:.5f} with one."
        ),
        figures=[
            image_rows(
                {name: _samples(trained[label]) for label, name in ROWS.items()},
                "Decoded draws of the prior, the same ones in every row",
            )
        ],
        tables=[
            Table(
                columns=["", "p-value", "squared MMD", "distortion (nats)"],
                rows=[
                    [
                        SYSTEMS[label],
                        f"{tests[label].p_value:.3f}",
                        f"{tests[label].squared_mmd:.5f}",
                        f"{distortion[label]:.1f}",
                    ]
                    for label in SYSTEMS
                ],
                caption=f"The power of the test grows with the codes, here {TESTED}.",
            )
        ],
    )


def _two_sample(trained: Trained) -> TwoSampleTest:
    """The test of one code per test image against as many draws of the prior.

    No setting was chosen by these images, drawn from all but the first `CHOSEN_BY`.
    """
    config, protocol = trained.config, trained.data.protocol
    test = load(config.dataset, "test", protocol=protocol, data_dir=config.data_dir)
    others = np.arange(CHOSEN_BY, len(test.images))
    chosen = np.random.default_rng(0).choice(others, TESTED, replace=False)
    examples = Example(test.observations(rows=chosen))
    given = trained.model, trained.params
    z_key, u_key = jax.random.split(jax.random.key(2))
    batch = Batch(examples, jnp.arange(TESTED))
    z, u = posterior_draws(*given, z_key, batch), prior_draws(*given, u_key, batch)
    return mmd_test(np.asarray(z), np.asarray(u), num_permutations=499)


def _samples(trained: Trained) -> np.ndarray:
    """Images decoded from draws of the prior, the same draws for every system."""
    examples = jax.tree.map(lambda leaf: leaf[:DRAWN], trained.data.test)
    batch = Batch(examples, jnp.arange(DRAWN))
    u = prior_draws(trained.model, trained.params, jax.random.key(1), batch)
    return np.asarray(decoded(trained, u))


aggregate_matching = Entry(
    title="MMD-VAE, WAE-MMD and the adversarial autoencoder",
    text=(
        "Autoencoders whose codes, taken together, are to have the prior's "
        "distribution: by the maximum mean discrepancy with a stochastic encoder "
        "(MMD-VAE, Zhao et al. 2019, arXiv:1706.02262) or a deterministic one (WAE, "
        "Tolstikhin et al. 2018, arXiv:1711.01558), or by a discriminator (Makhzani "
        "et al. 2016, arXiv:1511.05644). The bound holds no KL divergence. An "
        "autoencoder without such a term is the control. The settings were chosen by "
        "such tests of training images and of the first 500 test images; the codes "
        "tested here are of "
        f"{TESTED} test images drawn from all but the first {CHOSEN_BY}."
    ),
    presets={
        "short": _trainings(
            epochs=20,
            settings=("latent_dim=8", "hidden=200,200", "activation=relu"),
            mmd="weight=5000",
            adversarial=("weight=40", "hidden=200,200", "activation=tanh"),
        ),
        "paper": _trainings(
            epochs=100,
            settings=("latent_dim=8", "hidden=1000,1000", "activation=relu"),
            mmd="weight=2000",
            adversarial=("weight=20", "hidden=1000,1000", "activation=tanh"),
        ),
    },
    show=_show,
)
