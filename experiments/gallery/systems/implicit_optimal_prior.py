"""The implicit optimal prior against the standard one: a prior that is q(z)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.pictures.latents import decoded
from experiments.harness.json_files import read_json
from experiments.training.config import Config
from vaejax.core import Batch, Example
from vaejax.data import PROTOCOLS
from vaejax.plotting import Table, densities, image_rows
from vaejax.regularizers.draws import prior_draws

PRIORS = {
    "standard_normal": "standard normal",
    "implicit_optimal": "implicit optimal",
    "vamp": "VampPrior",
}
IN_THE_PLANE = ("standard_normal", "implicit_optimal")
DRAWN = 12  # samples of each system
REACH, SIDE = 4.5, 128  # half-width and points per side of the grid
SEEN = 10_000  # training images whose q(z) is shown on the grid


def _trainings(
    *,
    latent_dim: int,
    hidden: str,
    discriminator: str,
    num_components: int,
    epochs: int,
    in_the_plane: int,
) -> dict[str, Config]:
    own = {
        "implicit_optimal": (f"prior.hidden={discriminator}",),
        "vamp": (f"prior.num_components={num_components}",),
    }

    def training(prior: str, latent_dim: int, epochs: int) -> Config:
        return Config(
            dataset="mnist",
            model_settings=(
                f"latent_dim={latent_dim}",
                f"hidden={hidden}",
                f"prior={prior}",
                *own.get(prior, ()),
            ),
            estimator="pathwise",
            epochs=epochs,
            eval_num_samples=100,
            eval_examples=1000,
        )

    return {prior: training(prior, latent_dim, epochs) for prior in PRIORS} | {
        f"{prior}_2d": training(prior, 2, in_the_plane) for prior in IN_THE_PLANE
    }


class Plane(NamedTuple):
    """The densities q(z) and p(z) of two latents, on a grid, [SIDE, SIDE]."""

    aggregated: Float[np.ndarray, "S S"]  # q(z) of training images
    prior: Float[np.ndarray, "S S"]  # normalised density
    mismatch: float  # KL(q(z) || p(z)), nats
    log_normalizer: float  # log Z of the prior, by the grid


def _show(trained: Mapping[str, Trained]) -> Shown:
    tests = {prior: _test(trained[prior]) for prior in PRIORS}
    planes = {prior: _plane(trained[f"{prior}_2d"]) for prior in IN_THE_PLANE}
    standard, implicit = (tests[prior] for prior in IN_THE_PLANE)
    gain = implicit["elbo"] - standard["elbo"]
    error = float(np.hypot(implicit["elbo_error"], standard["elbo_error"]))
    on_grid = planes["implicit_optimal"].log_normalizer
    by_chains = _test(trained["implicit_optimal_2d"])["log_normalizer"]
    before, after = (planes[prior].mismatch for prior in IN_THE_PLANE)
    return Shown(
        numbers={f"elbo {prior}": test["elbo"] for prior, test in tests.items()}
        | {f"elbo error {prior}": test["elbo_error"] for prior, test in tests.items()}
        | {"log Z": implicit["log_normalizer"]}
        | {f"mismatch {prior}": one.mismatch for prior, one in planes.items()}
        | {"log Z in the plane, grid": on_grid, "log Z in the plane, AIS": by_chains},
        finding=(
            f"the implicit optimal prior's test ELBO is {implicit['elbo']:.2f} nats, "
            f"the standard prior's {standard['elbo']:.2f}: "
            f"{'better' if gain > 2 * error else 'not better'}, by {gain:.2f} with a "
            f"Monte Carlo error of {error:.2f}; the VampPrior's is "
            f"{tests['vamp']['elbo']:.2f}; one seed each. With two latents KL(q(z) || "
            f"p(z)) is {before:.2f} nats under the standard prior and {after:.2f} "
            "under the implicit one, and annealed importance sampling finds log Z = "
            f"{by_chains:.3f}, a sum over the grid {on_grid:.3f}."
        ),
        figures=[
            image_rows(
                {name: _samples(trained[prior]) for prior, name in PRIORS.items()},
                "Decoded draws of the prior",
            ),
            _densities(planes),
        ],
        tables=[
            Table(
                ["prior", "test ELBO", "test log p(x)", "log Z", "active units"],
                [
                    [
                        PRIORS[prior],
                        f"{test['elbo']:.2f} ± {test['elbo_error']:.2f}",
                        f"{test['log_likelihood']:.2f}",
                        f"{test['log_normalizer']:.2f}"
                        if "log_normalizer" in test
                        else "0",
                        test["active_units"],
                    ]
                    for prior, test in tests.items()
                ],
                "Nats. The normaliser Z, by annealed importance sampling, is taken off "
                "the implicit prior's figures, and its error is part of theirs.",
            )
        ],
    )


def _test(trained: Trained) -> dict[str, float]:
    """The test metrics of the trained model; the metrics of an epoch lack log Z."""
    return read_json(trained.config.out / "results.json")["test"]


def _samples(trained: Trained) -> Float[Array, "N ..."]:
    examples = jax.tree.map(lambda leaf: leaf[:DRAWN], trained.data.test)
    batch = Batch(examples, jnp.arange(DRAWN))
    key = jax.random.key(1)
    return decoded(trained, prior_draws(trained.model, trained.params, key, batch))


def _plane(trained: Trained) -> Plane:
    model, params = trained.model, trained.params
    axis = jnp.linspace(-REACH, REACH, SIDE)
    points = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    draw = PROTOCOLS[trained.data.protocol].sample
    keys = jax.random.split(jax.random.key(0), SEEN)
    examples = Example(jax.vmap(draw)(keys, trained.data.train.x[:SEEN]))
    posteriors = jax.vmap(model.encode, (None, 0))(params, examples)
    prior = model.prior(params, None)

    @jax.jit
    def of_each(z: Float[Array, " Z"]) -> tuple[Array, Array]:
        log_qz = jax.vmap(model.posterior.log_prob, (0, None))(posteriors, z)
        return jnp.exp(log_qz).mean(), model.latent_prior.log_prob(prior, z)

    aggregated, log_prior = jax.lax.map(of_each, points)
    q, p = np.asarray(aggregated, float), np.exp(np.asarray(log_prior, float))
    area = (2 * REACH / (SIDE - 1)) ** 2
    normalizer = p.sum() * area
    p /= normalizer
    some = q > 0
    return Plane(
        aggregated=q.reshape(SIDE, SIDE),
        prior=p.reshape(SIDE, SIDE),
        mismatch=float((q[some] * np.log(q[some] / p[some])).sum() * area),
        log_normalizer=float(np.log(normalizer)),
    )


def _densities(planes: Mapping[str, Plane]) -> Figure:
    return densities(
        {
            f"{density}, {PRIORS[prior].split()[0]} prior": grid
            for prior, plane in planes.items()
            for density, grid in (
                ("q(z)", plane.aggregated),
                ("p(z)", plane.prior),
            )
        },
        REACH,
        "Two latents: the aggregated posterior and the prior that it was trained with, "
        "all in one scale.",
    )


implicit_optimal_prior = Entry(
    title="The implicit optimal prior",
    text=(
        "The prior under which the bound is highest is the aggregated posterior q(z), "
        "which has no density in closed form: a discriminator learns its ratio to the "
        "standard normal (Takahashi et al. 2019, arXiv:1809.05284). Beside it the "
        "VampPrior (Tomczak and Welling 2018, arXiv:1705.07120), a mixture of "
        "posteriors of learned pseudo-inputs. And two latents, to look at."
    ),
    presets={
        "short": _trainings(
            latent_dim=32,
            hidden="200,200",
            discriminator="300,300",
            num_components=100,
            epochs=6,
            in_the_plane=6,
        ),
        "paper": _trainings(
            latent_dim=40,
            hidden="500,500,500",
            discriminator="500,500,500",
            num_components=500,
            epochs=500,
            in_the_plane=100,
        ),
    },
    show=_show,
)
