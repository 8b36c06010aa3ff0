"""The tour's report: its models side by side, and its findings in words."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table as TerminalTable

from experiments.harness.terminal import console
from experiments.training.config import Config as TrainConfig
from experiments.training.report import in_nats, unreliable
from vaejax.benchmark import EstimatorTable
from vaejax.benchmark.cautions import cautions as cautions_of
from vaejax.benchmark.findings import Finding, answers
from vaejax.plotting import Section, Table, log_likelihood_bars


def lead(
    test: dict[str, dict[str, Any]], comparisons: Mapping[str, EstimatorTable]
) -> list[Finding]:
    """The best model, and what each comparison of gradients, by its place, found."""
    best = max(test, key=lambda name: test[name]["log_likelihood"])
    likelihoods = ", ".join(f"{name} {in_nats(test[name])}" for name in test)
    said = [
        Finding(
            f"On the test digits {best} has the highest log-likelihood.",
            f"in nats: {likelihoods}; one seed each: a Monte Carlo error does not "
            "include the spread over seeds",
        )
    ]
    for place, table in comparisons.items():
        for found in answers(table.rows):
            said.append(found._replace(claim=_placed(place, found.claim)))
    return said


def cautions(comparisons: Mapping[str, EstimatorTable]) -> list[str]:
    """The cautions about each comparison."""
    return [
        _placed(place, caution)
        for place, table in comparisons.items()
        for caution in cautions_of(table.rows)
    ]


def _placed(place: str, sentence: str) -> str:
    return f"On the {place}, {sentence[:1].lower()}{sentence[1:]}"


def likelihood_section(
    configs: dict[str, TrainConfig], summaries: dict[str, dict[str, Any]], command: str
) -> Section:
    """The models side by side; `command` trained them all."""
    test = {name: summary["test"] for name, summary in summaries.items()}
    config = next(iter(configs.values()))  # the settings shown are the same in all
    rows = [
        (
            name,
            configs[name].bound,
            configs[name].estimator,
            configs[name].num_samples,
            in_nats(found),
            unreliable(found),
            found["active_units"],
            f"{summaries[name]['train']['images_per_second']:,.0f}",
        )
        for name, found in test.items()
    ]
    columns = (
        "model",
        "bound",
        "estimator",
        "K",
        "test log p(x), nats",
        "Pareto k above 0.7",
        "active units",
        "training images/s",
    )
    caption = (
        f"{config.eval_num_samples} importance samples an image, {config.epochs} "
        "epochs, dynamic binarization; ± is the Monte Carlo error of one trained "
        "model, not the spread over seeds, and too small where Pareto k is above 0.7 "
        "for many examples."
    )
    bars = [{"name": name, **found} for name, found in test.items()]
    return Section(
        title="Test log-likelihood",
        tables=[Table(columns, rows, caption)],
        figures=[log_likelihood_bars(bars)],
        command=command,
    )


def print_test(test: dict[str, dict[str, Any]]) -> None:
    """Print the test figures of every model as a table."""
    table = TerminalTable(title="digits, test split")
    table.add_column("model")
    for name in ("log p(x), nats", "Pareto k above 0.7", "active units"):
        table.add_column(name, justify="right")
    for name, found in test.items():
        table.add_row(
            name,
            in_nats(found),
            unreliable(found),
            str(found["active_units"]),
        )
    console().print(table)
