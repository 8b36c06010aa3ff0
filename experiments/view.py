"""Show a trained model on one page.

    python -m experiments.view --checkpoint runs/train --out runs/view

report.html needs no server and no network: reconstructions, samples, the latent space,
every active latent behind a slider, log p(x) of each test image with the best and the
worst ones, and the curves of the training.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import command_of, option, read_command_line, run_main
from experiments.harness.settings import Large, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Show a trained model on one page."""

    checkpoint: Annotated[Path, option("DIR")]
    """run of experiments.train to show"""
    examples: Annotated[int, option("N")] = 1000
    """first test examples to encode and to score"""
    num_samples: Annotated[Large, option("S")] = 500
    """importance samples of each log p(x)"""
    latents: Annotated[int, option("N")] = 10
    """most latents behind sliders"""
    out: Annotated[Path, option("DIR")] = Path("runs/view")
    """folder of the page"""
    overwrite: bool = False
    """replace the page in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from experiments.harness import run_folder
from experiments.training import report
from experiments.training.evaluate import evaluate
from experiments.training.load import Trained, load_trained
from vaejax.core import Example
from vaejax.evaluation import posterior_means
from vaejax.evaluation.active_units import THRESHOLD
from vaejax.plotting import Section, image_grid, write_report
from vaejax.plotting.likelihoods import log_likelihood_histogram, unit_variances
from vaejax.plotting.slider import Slider

SHOWN = 16  # images of a kind on the page
MOVED = 8  # images beside a slider
POSITIONS = np.linspace(-3, 3, 13)  # of a slider, in standard deviations of its latent


class Results(NamedTuple):
    """The log-likelihoods, the variances of the posterior means, and the page."""

    log_px: np.ndarray | None  # [N]; None for a code without a density
    mean_variance: np.ndarray  # [Z]
    report: Path


def run(config: Config) -> Results:
    """Encode, score and decode test examples; write report.html and results.json.

    Raises:
        VaejaxError: a run that cannot be loaded, before anything is computed.
    """
    trained = _first_examples(load_trained(config.checkpoint), config.examples)
    with run_folder.open_run(config.out, config, overwrite=config.overwrite):
        means = posterior_means(trained.model, trained.params, trained.data.test)
        variance = means.var(axis=0)
        log_px = _log_likelihoods(trained, config.num_samples)
        figures = report.draw(trained.run, trained.params, SHOWN)
        active = int((variance > THRESHOLD).sum())
        lead = [f"{active} of {variance.size} latents are active."]
        if log_px is not None:
            lead.append(
                f"The mean log p(x) of {len(log_px):,} test examples is "
                f"{log_px.mean():.2f} nats, from {log_px.min():.2f} to "
                f"{log_px.max():.2f}."
            )
        settings = trained.config
        page = write_report(
            config.out / "report.html",
            title=f"{settings.model} on {trained.run.dataset.name}",
            lead=lead,
            sections=[
                Section(
                    "Images, codes and curves",
                    figures=list(figures.values()),
                    command=command_of("train", settings),
                ),
                *_latents(trained, means, config.latents),
                Section(
                    "Active latents", figures=[unit_variances(variance, THRESHOLD)]
                ),
                *_extremes(trained, log_px),
            ],
        )
        run_folder.write_json(
            config.out / "results.json",
            {
                "log_likelihood": None if log_px is None else float(log_px.mean()),
                "active_units": active,
                "num_examples": len(means),
                "versions": run_folder.versions(),
            },
        )
        print(f"report: {page}")
        return Results(log_px, variance, page)


def _first_examples(trained: Trained, count: int) -> Trained:
    """The trained model with the first examples of its test split alone."""
    data = trained.data
    labels = None if data.test_labels is None else data.test_labels[:count]
    test = jax.tree.map(lambda leaf: leaf[:count], data.test)
    fewer = dataclasses.replace(
        trained.run, data=data._replace(test=test, test_labels=labels)
    )
    return trained._replace(run=fewer)


def _log_likelihoods(trained: Trained, num_samples: int) -> np.ndarray | None:
    if not trained.model.posterior.has_density:
        return None
    key = trained.run.keys.evaluate
    return evaluate(trained.run, trained.params, key, num_samples).log_px


def _latents(trained: Trained, means: np.ndarray, most: int) -> list[Section]:
    """A slider for each of the latents whose posterior means vary most."""
    shape = trained.model.latent_shape
    is_vector = isinstance(shape, jax.ShapeDtypeStruct) and len(shape.shape) == 1
    if trained.data.protocol == "counts" or not is_vector:
        return []  # no images, or latents that a number does not move
    if trained.model.posterior.space.kind != "reals":
        return []
    examples = jax.tree.map(lambda leaf: leaf[:MOVED], trained.data.test)
    order = np.argsort(-means.var(axis=0))[:most]
    rows = [traverse(trained, examples, means, int(unit)) for unit in order]
    return [
        Section(
            "Latents",
            "Each column is a test image, decoded at the mean of its posterior but for "
            "one latent, which a slider moves over three standard deviations of the "
            "posterior means. The latents stand in the order of their variance.",
            sliders=[
                Slider(f"latent {unit + 1}", positions, row)
                for unit, (positions, row) in zip(order, rows, strict=True)
            ],
        )
    ]


def traverse(
    trained: Trained, examples: Example, means: Float[np.ndarray, "N Z"], unit: int
) -> tuple[list[float], list[np.ndarray]]:
    """The mean of p(x | z) as one latent moves, and the values of this latent."""
    model, centre, spread = trained.model, means[:, unit].mean(), means[:, unit].std()
    positions = centre + spread * POSITIONS

    @jax.jit
    def decode(value: Array) -> Array:
        def one(example: Example) -> Array:
            z = model.posterior.mean(model.encode(trained.params, example))
            moved = z.at[unit].set(value)
            return model.likelihood.mean(model.decode(trained.params, moved, example.y))

        return jax.vmap(one)(examples)

    return positions.tolist(), [np.asarray(decode(v)) for v in positions]


def _extremes(trained: Trained, log_px: np.ndarray | None) -> list[Section]:
    """The distribution of log p(x), and the examples at its ends."""
    if log_px is None:
        return []
    figures = [log_likelihood_histogram(log_px)]
    if trained.data.protocol != "counts":
        order = np.argsort(log_px)
        x = np.asarray(trained.data.test.x)
        for name, rows in (
            ("least likely first", order[:SHOWN]),
            ("most likely first", order[::-1][:SHOWN]),
        ):
            figures.append(image_grid(x[rows], f"Test images, {name}"))
    return [Section("Log-likelihood of each example", figures=figures)]


if __name__ == "__main__":
    run_main(Config, run)
