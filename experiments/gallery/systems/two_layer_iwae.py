"""The two-layer network of the IWAE's paper, by four gradients of one bound."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.harness import metric_rows
from experiments.training.config import Config
from experiments.training.evaluate import evaluate
from vaejax.benchmark import GroupReport, Moments, gradient_moments, summarize
from vaejax.benchmark.cautions import DAGGER
from vaejax.bounds import iwae
from vaejax.core import Batch, Key, LossState
from vaejax.estimators import ESTIMATORS
from vaejax.objective import make_objective
from vaejax.plotting import Table, bound_curves

NAMES = {
    "pathwise": "pathwise",
    "stl": "STL",
    "dreg": "DReG",
    "gdreg": "generalised DReG",
}
REPEATS = 20  # repeats of the test bound, with independent samples
AT = "dreg"  # the training at whose end all gradients are compared
OBSERVED = 20  # test images in a gradient
DRAWS = 800
SEEN = 4  # spreads at zero bias, beyond which a bias is reported
GROUPS = ("encoder", "decoder", "prior")


def _trainings(num_samples: int, epochs: int, batch_size: int) -> dict[str, Config]:
    return {
        name: Config(
            dataset="mnist",
            model="hierarchical_mlp",
            bound="iwae",
            estimator=name,
            num_samples=num_samples,
            allow_bias=name == "stl",
            epochs=epochs,
            batch_size=batch_size,
            eval_num_samples=100,
            eval_examples=1000,
        )
        for name in NAMES
    }


class Bound(NamedTuple):
    """The value of the trained bound on the test images."""

    mean: float  # mean over repeats
    error: float  # standard error of the mean, from the samples alone


def _show(trained: Mapping[str, Trained]) -> Shown:
    bounds = {name: _bound(one) for name, one in trained.items()}
    reports = _reports(trained[AT])
    ratios = {name: _snr(one["encoder"]) for name, one in reports.items()}
    prior = {name: _snr(one["prior"]) for name, one in reports.items()}
    best = max(bounds, key=lambda name: bounds[name].mean)
    k = trained[AT].config.num_samples
    listed = ", ".join(f"{NAMES[n]} {b.mean:.2f}" for n, b in bounds.items())
    off = [
        f"{NAMES[name]} of the {group}"
        for name, one in reports.items()
        for group in GROUPS
        if one[group].bias_squared > SEEN * one[group].bias_squared_noise
    ]
    return Shown(
        numbers={f"bound {name}": b.mean for name, b in bounds.items()}
        | {f"error {name}": b.error for name, b in bounds.items()}
        | {
            f"snr {name} {group}": _snr(one[group])
            for name, one in reports.items()
            for group in GROUPS
        },
        finding=(
            "from the same start, after as many updates on the same batches, the test "
            f"bounds with K = {k} are {listed} nats, {NAMES[best]} first; one seed. "
            "At the same parameters the signal-to-noise ratio of the encoder's "
            f"gradient is {ratios['pathwise']:.2f} pathwise and {ratios['dreg']:.2f} "
            f"by DReG, of the prior's {prior['dreg']:.2f} and by generalised DReG "
            f"{prior['gdreg']:.2f}; a bias is found in {', '.join(off) or 'none'}."
        ),
        figures=[
            bound_curves(
                {
                    NAMES[name]: metric_rows.read_rows(one.config.out)
                    for name, one in trained.items()
                }
            )
        ],
        tables=[
            Table(
                ["gradient", "test bound, nats", "Monte Carlo error"],
                [
                    [NAMES[n], f"{b.mean:.2f}", f"{b.error:.3f}"]
                    for n, b in bounds.items()
                ],
            ),
            Table(
                ["gradient"]
                + [f"{what}, {group}" for group in GROUPS for what in ("SNR", "bias")],
                [
                    [
                        NAMES[name],
                        *(told for group in GROUPS for told in _told(one[group])),
                    ]
                    for name, one in reports.items()
                ],
                "Of gradients at the parameters that DReG came to: the norm of their "
                "mean against their noise (SNR), and the squared norm of their bias, "
                f"of {DRAWS} draws, with its standard error. {DAGGER}",
            ),
        ],
    )


def _bound(trained: Trained) -> Bound:
    """The bound of the test images, with samples drawn anew."""
    repeats = [
        evaluate(
            trained.run, trained.params, key, trained.config.num_samples
        ).log_px.mean(dtype=float)
        for key in jax.random.split(jax.random.key(0), REPEATS)
    ]
    error = np.std(repeats, ddof=1) / np.sqrt(REPEATS)
    return Bound(float(np.mean(repeats)), float(error))


def _reports(trained: Trained) -> dict[str, dict[str, GroupReport]]:
    """The report on every estimator's gradient, against the mean of DReG's."""
    examples = jax.tree.map(lambda leaf: leaf[:OBSERVED], trained.data.test)
    batch = Batch(examples, jnp.arange(OBSERVED))
    draw_key, reference_key = jax.random.split(jax.random.key(1))

    def moments(name: str, key: Key) -> Moments:
        objective = make_objective(
            trained.model,
            iwae(),
            ESTIMATORS[name](),
            num_samples=trained.config.num_samples,
            allow_bias=True,
        )
        at = objective, trained.params, LossState()
        return gradient_moments(*at, key, batch, draws=DRAWS)

    reference = moments("dreg", reference_key)
    return {name: summarize(moments(name, draw_key), reference) for name in NAMES}


def _snr(report: GroupReport) -> float:
    """The signal-to-noise ratio, 0 where noise hides the signal."""
    return float(np.nan_to_num(report.norm_snr))


def _told(report: GroupReport) -> tuple[str, str]:
    flag = " †" * (not report.safe)
    return (
        f"{_snr(report):.2f}{flag}",
        f"{report.bias_squared:.2g} ± {report.bias_squared_stderr:.1g}{flag}",
    )


two_layer_iwae = Entry(
    title="The two-layer IWAE, by four gradients",
    text=(
        "The larger network of Burda et al. (2016, arXiv:1509.00519), "
        "784-200-200-z100-100-100-z50, under their bound: pathwise; STL (Roeder et al. "
        "2017, arXiv:1703.09194), which is biased for this bound; DReG (Tucker et al. "
        "2019, arXiv:1810.04152); and its generalisation to the prior's parameters "
        "(Bauer and Mnih 2021, arXiv:2101.11046)."
    ),
    presets={"short": _trainings(5, 5, 100), "paper": _trainings(50, 3280, 20)},
    show=_show,
)
