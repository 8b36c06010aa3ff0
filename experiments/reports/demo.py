"""The tour's report: its models side by side, and its findings in words."""

from typing import Any

from rich.table import Table as TerminalTable

from experiments.harness.terminal import console
from experiments.training.config import Config as TrainConfig
from experiments.training.report import unreliable, with_error
from vaejax.benchmark.findings import estimate, in_errors
from vaejax.plotting import Section, Table, log_likelihood_bars


def lead(
    test: dict[str, dict[str, Any]],
    oracle_rows: list[dict[str, Any]],
    network_rows: list[dict[str, Any]],
) -> list[str]:
    """The report's answer in words, each figure from the runs."""
    best = max(test, key=lambda name: test[name]["log_likelihood"])
    likelihoods = ", ".join(
        f"{name} {found['log_likelihood']:.2f}" for name, found in test.items()
    )
    sentences = [
        f"Test log-likelihood in nats (higher is better): {likelihoods}; {best} is "
        "best. One seed each: the Monte Carlo errors below do not tell seeds apart."
    ]
    for place, rows in (("oracle", oracle_rows), ("trained network", network_rows)):
        pathwise = _encoder_row(rows, "pathwise")
        dreg = _encoder_row(rows, "dreg")
        ratio = pathwise["variance"] / dreg["variance"]
        cost = dreg["seconds_per_gradient"] / pathwise["seconds_per_gradient"]
        sentences.append(
            f"On the {place}, at K = 64, DReG's encoder gradient has {ratio:.2g} times "
            f"less variance than the pathwise one, at {cost:.2f} times the cost, and "
            f"rms signal-to-noise {estimate(dreg, 'rms_snr') or 'unknown'} against "
            f"{estimate(pathwise, 'rms_snr') or 'unknown'}."
        )
    stl = _encoder_row(oracle_rows, "stl")
    sentences.append(
        f"STL under the IWAE bound is biased, and the oracle sees it: at K = 64 its "
        f"bias is {in_errors(stl):.3g} standard errors of the mean gradient, and "
        f"{estimate(stl, 'bias_squared')} squared."
    )
    return sentences


def _encoder_row(rows: list[dict[str, Any]], estimator: str) -> dict[str, Any]:
    cell = ("iwae", estimator, 64, "encoder")
    names = ("bound", "estimator", "num_samples", "group")
    return next(row for row in rows if tuple(row[name] for name in names) == cell)


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
            with_error(found),
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
            with_error(found),
            unreliable(found),
            str(found["active_units"]),
        )
    console().print(table)
