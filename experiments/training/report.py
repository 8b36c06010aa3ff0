"""What a finished training shows: figures and a table."""

from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array
from rich.table import Table

from experiments.harness import run_folder
from experiments.harness.names import labels_in_turn
from experiments.harness.terminal import console
from experiments.training.prepared_run import Data
from vaejax.core import Example, Key, Model, Params
from vaejax.evaluation import posterior_means
from vaejax.plotting import (
    image_grid,
    latent_space,
    reconstructions,
    save,
    training_curves,
)


def draw(out: Path, model: Model, params: Params, data: Data, count: int = 16) -> None:
    """Curves, the latent space and, of images, reconstructions and samples."""
    folder = out / "figures"
    save(training_curves(run_folder.read_rows(out)), folder / "curves.png")

    if data.protocol != "counts":  # of words there is nothing to see
        shown = jax.tree.map(lambda leaf: leaf[:count], data.test)
        seen = reconstruct(model, params, shown)
        save(reconstructions(shown.x, seen), folder / "reconstructions.png")
        samples = sample_images(model, params, jax.random.key(0), count * 4)
        save(image_grid(samples, "Samples from the prior"), folder / "samples.png")
    means = posterior_means(model, params, data.test)
    save(latent_space(means, data.test_labels), folder / "latent_space.png")


def sample_images(model: Model, params: Params, key: Key, count: int) -> Array:
    """The mean of p(x | z) at draws of z from the prior, of every class in turn."""

    def one(key: Key, y: Array | None) -> Array:
        z = model.latent_prior.sample(key, model.prior(params, y))
        return model.likelihood.mean(model.decode(params, z, y))

    return jax.vmap(one)(jax.random.split(key, count), labels_in_turn(model, count))


def reconstruct(model: Model, params: Params, examples: Example) -> Array:
    """The mean of p(x | z) at the mean of q(z | x), for every image."""

    def one(example: Example) -> Array:
        z = model.posterior.mean(model.encode(params, example))
        return model.likelihood.mean(model.decode(params, z, example.y))

    return jax.vmap(one)(examples)


def print_summary(out: Path, summary: dict[str, Any]) -> None:
    """Print results.json as a table, and where the files are."""
    test, train = summary["test"], summary["train"]
    table = Table(title=f"{out} (protocol: {summary['protocol']})")
    table.add_column("result")
    table.add_column("value", justify="right")
    if "log_likelihood" in test:
        _add_likelihoods(table, summary)
    else:
        table.add_row("test log p(x|z)", f"{test['log_px_z']:.2f} nats")
        table.add_row("squared error of an image", f"{test['squared_error']:.3f}")
    table.add_row("test examples", str(test["num_examples"]))
    table.add_row("active units", f"{test['active_units']:g}")
    table.add_row("training", f"{train['images_per_second']:,.0f} images/s")
    table.add_row("compilation", f"{train['compile_seconds']:.1f} s")
    console().print(table)
    if (test.get("pareto_k_above_0.7") or 0) > 0.5:
        print(
            "for most examples a few importance samples outweigh the rest (Pareto k "
            "above 0.7): log p(x) is above the estimate, and the error larger than "
            "stated; use a larger --eval-num-samples"
        )
    if train["kl_weight"]:
        print(train["kl_weight"])
    print(f"results, metrics, figures and checkpoint: {out}")


def _add_likelihoods(table: Table, summary: dict[str, Any]) -> None:
    test = summary["test"]
    normalized = summary["normalized"]
    name = "log-likelihood" if normalized else "score, of no density"
    table.add_row(f"test {name}, S = {test['num_samples']}", with_error(test) + " nats")
    if (spread := test.get("standard_deviation_over_seeds")) is not None:
        table.add_row(f"its spread over {len(test['seeds'])} seeds", f"{spread:.2f}")
    error = "unknown" if test["elbo_error"] is None else f"{test['elbo_error']:.3f}"
    name = "ELBO" if normalized else "mean score"
    table.add_row(f"test {name}", f"{test['elbo']:.2f} ± {error} nats")
    if (spread := test.get("elbo_standard_deviation_over_seeds")) is not None:
        table.add_row("its spread over seeds", f"{spread:.2f}")
    if (bits := test.get("bits_per_dim")) is not None:
        table.add_row("bits per dimension", f"{bits:.3f}")
    table.add_row("effective sample size", f"{test['effective_sample_size']:,.1f}")
    table.add_row("Pareto k above 0.7", unreliable(test))


def with_error(test: dict[str, Any]) -> str:
    """The test log-likelihood and its Monte Carlo error, in nats."""
    error = test["monte_carlo_error"]
    stated = "unknown" if error is None else f"{error:.3f}"
    return f"{test['log_likelihood']:.2f} ± {stated}"


def unreliable(test: dict[str, Any]) -> str:
    """The share of examples whose importance weights have no reliable mean."""
    share = test["pareto_k_above_0.7"]
    return "unknown" if share is None else f"{share:.0%} of examples"
