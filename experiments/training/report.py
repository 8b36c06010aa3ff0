"""The report of a finished training: a table and figures, printed and as HTML."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
from jaxtyping import Array
from matplotlib.figure import Figure
from rich.table import Table as TerminalTable

from experiments.harness import metric_rows
from experiments.harness.cli import command_of
from experiments.harness.names import labels_in_turn
from experiments.harness.result_table import plain
from experiments.harness.terminal import console
from experiments.training.run import Run
from vaejax.core import Example, Key, Model, Params
from vaejax.evaluation import posterior_means
from vaejax.plotting import (
    Section,
    Table,
    image_grid,
    latent_space,
    reconstructions,
    save,
    training_curves,
    write_report,
)


def write(run: Run, params: Params, summary: dict[str, Any]) -> None:
    """Write figures/ and report.html for the first seed's parameters."""
    config, out = run.config, run.config.out
    figures = draw(run, params)
    for name, figure in figures.items():
        save(figure, out / "figures" / f"{name}.png")
    (label, value), *_ = rows = _rows(summary)
    write_report(
        out / "report.html",
        title=f"{config.model} on {run.dataset.name}",
        lead=[f"{label[:1].upper()}{label[1:]}: {value}.", *_remarks(summary)],
        sections=[
            Section(
                title=f"{config.bound} by {config.estimator}, K = {config.num_samples}",
                text=f"Protocol: {summary['protocol']}. ± is the Monte Carlo error of "
                "trained models, not the spread over seeds.",
                tables=[Table(("result", "value"), rows)],
                command=command_of("train", config),
            ),
            Section("Figures", figures=list(figures.values())),
        ],
    )


def draw(run: Run, params: Params, count: int = 16) -> Mapping[str, Figure]:
    """Draw curves, the latent space and, for images, reconstructions and samples."""
    model, test = run.model, run.data.test
    figures = {"curves": training_curves(metric_rows.read_rows(run.config.out))}
    if is_image(test.x[0]):
        shown = jax.tree.map(lambda leaf: leaf[:count], test)
        seen = reconstruct(model, params, shown)
        figures["reconstructions"] = reconstructions(shown.x, seen)
        samples = sample_images(model, params, jax.random.key(0), count * 4)
        figures["samples"] = image_grid(samples, "Samples from the prior")
    means = posterior_means(model, params, test)
    return figures | {"latent_space": latent_space(means, run.data.test_labels)}


def is_image(x: Array) -> bool:
    """True if an observation is drawn as a picture: [H, W, C], grey or in colour."""
    return x.ndim == 3 and x.shape[-1] in (1, 3)


def sample_images(model: Model, params: Params, key: Key, count: int) -> Array:
    """The mean of p(x | z) at draws of z from the prior, of every class in turn."""

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0, 0))
    def sample(params: Params, key: Key, y: Array | None) -> Array:
        z = model.latent_prior.sample(key, model.prior(params, y))
        return model.likelihood.mean(model.decode(params, z, y))

    return sample(params, jax.random.split(key, count), labels_in_turn(model, count))


def reconstruct(model: Model, params: Params, examples: Example) -> Array:
    """The mean of p(x | z) at the mean of q(z | x), for every image."""

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    def mean(params: Params, example: Example) -> Array:
        z = model.posterior.mean(model.encode(params, example))
        return model.likelihood.mean(model.decode(params, z, example.y))

    return mean(params, examples)


def print_summary(run: Run, summary: dict[str, Any]) -> None:
    """Print results.json as a table, and the folder of the files."""
    out = run.config.out
    table = TerminalTable(title=f"{out} (protocol: {summary['protocol']})")
    table.add_column("result")
    table.add_column("value", justify="right")
    for row in _rows(summary):
        table.add_row(*row)
    console().print(table)
    for remark in _remarks(summary):
        print(remark)
    print(f"results, metrics, report.html, figures and checkpoint: {out}")


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The names and values of the figures, the most important first."""
    test, train = summary["test"], summary["train"]
    if "log_likelihood" in test:
        rows = _likelihoods(summary)
    else:
        rows = [
            ("test log p(x|z)", f"{test['log_px_z']:.2f} nats"),
            ("squared error of an image", f"{test['squared_error']:.3f}"),
        ]
    return [
        *rows,
        ("epoch kept", _epoch_kept(train["chosen"])),
        ("test examples", str(test["num_examples"])),
        ("active units", f"{test['active_units']:g}"),
        ("training", f"{train['images_per_second']:,.0f} images/s"),
        ("compilation", f"{train['compile_seconds']:.1f} s"),
    ]


def _epoch_kept(chosen: dict[str, Any]) -> str:
    """The epoch whose parameters are kept, of each seed, and why."""
    return f"{plain(chosen['epoch'])} of {chosen['out_of']}, {chosen['by']}"


def _remarks(summary: dict[str, Any]) -> list[str]:
    """The remarks that qualify the figures."""
    remarks = []
    if (summary["test"].get("pareto_k_above_0.7") or 0) > 0.5:
        remarks.append(
            "for most examples a few importance samples outweigh the rest (Pareto k "
            "above 0.7): log p(x) is above the estimate, and the error larger than "
            "stated; use a larger --eval-num-samples"
        )
    if weight := summary["train"]["kl_weight"]:
        remarks.append(weight)
    return remarks


def _likelihoods(summary: dict[str, Any]) -> list[tuple[str, str]]:
    test, normalized = summary["test"], summary["normalized"]
    name = "log-likelihood" if normalized else "score, of no density"
    rows = [(f"test {name}, S = {test['num_samples']}", in_nats(test) + " nats")]
    if (spread := test.get("standard_deviation_over_seeds")) is not None:
        rows.append((f"its spread over {len(test['seeds'])} seeds", f"{spread:.2f}"))
    error = "unknown" if test["elbo_error"] is None else f"{test['elbo_error']:.3f}"
    name = "ELBO" if normalized else "mean score"
    rows.append((f"test {name}", f"{test['elbo']:.2f} ± {error} nats"))
    if (spread := test.get("elbo_standard_deviation_over_seeds")) is not None:
        rows.append(("its spread over seeds", f"{spread:.2f}"))
    if (of_dimension := test.get("bits_per_dim")) is not None:
        rows.append(("bits per dimension", f"{of_dimension:.3f}"))
    return [
        *rows,
        ("effective sample size", f"{test['effective_sample_size']:,.1f}"),
        ("Pareto k above 0.7", unreliable(test)),
    ]


def in_nats(test: dict[str, Any]) -> str:
    """The test log-likelihood and its Monte Carlo error, in nats."""
    error = test["monte_carlo_error"]
    stated = "unknown" if error is None else f"{error:.3f}"
    return f"{test['log_likelihood']:.2f} ± {stated}"


def unreliable(test: dict[str, Any]) -> str:
    """The share of examples whose importance weights have no reliable mean."""
    share = test["pareto_k_above_0.7"]
    return "unknown" if share is None else f"{share:.0%} of examples"
