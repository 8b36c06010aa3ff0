"""Runs of experiments as sections of a report, with the commands that repeat them."""

from collections.abc import Mapping
from pathlib import Path

from experiments import estimator_variance
from experiments.benchmark.variance_tables import topics
from experiments.harness import metric_rows
from experiments.harness.cli import command_of
from experiments.training.load import load_trained
from experiments.training.report import draw
from vaejax.plotting import Section, bound_curves
from vaejax.plotting.comparison import comparison_figures

FIGURES = ("variance", "rms_snr", "bias")
TABLES = ("Bias", "Variance", "Refused")
KINDS = {
    "reconstructions": "Reconstructions",
    "samples": "Samples",
    "latent_space": "Latent space",
}


def model_sections(runs: Mapping[str, Path]) -> list[Section]:
    """Trained models side by side, read back from their runs: a section a kind."""
    trained = {name: load_trained(out) for name, out in runs.items()}
    drawn = {name: draw(run.run, run.params, 10) for name, run in trained.items()}
    for name, figures in drawn.items():
        for figure in figures.values():
            figure.set_label(f"{name}: {figure.get_label()}")
    rows = {name: metric_rows.read_rows(out) for name, out in runs.items()}
    commands = [command_of("train", run.config) for run in trained.values()]
    return [
        Section(
            "Training",
            "The ELBO means the same for every bound and K.",
            figures=[bound_curves(rows, "elbo")],
            command="\n".join(commands),
        ),
        *(
            Section(title, figures=[drawn[name][kind] for name in runs])
            for kind, title in KINDS.items()
        ),
    ]


def gradient_section(
    title: str,
    text: str,
    config: estimator_variance.Config,
    results: estimator_variance.Results,
) -> Section:
    """A comparison of gradient estimators: some figures and tables of its report."""
    rows = results.table.rows
    figures = comparison_figures(rows)
    tables = [table for s in topics(rows) if s.title in TABLES for table in s.tables]
    return Section(
        title=title,
        text=text,
        figures=[figures[name]() for name in FIGURES],
        tables=tables,
        command=command_of("estimator_variance", config),
    )
