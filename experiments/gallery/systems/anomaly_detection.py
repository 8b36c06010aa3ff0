"""Anomaly detection: each digit left out of the training once, and then detected."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.training.config import Config
from vaejax.evaluation import anomaly_scores, auroc
from vaejax.plotting import Table, heat_map

DIGITS = range(10)
KNOWN_FAILURE = 1  # simpler than the digits trained on
MUTATION_RATE = 0.2
SAMPLES = 50  # samples of the scores' expectations
NAMES = (  # names of the fields of AnomalyScores
    "reconstruction error",
    "reconstruction probability",
    "negative log-likelihood",
    "likelihood ratio",
    "complexity-corrected",
)
LIKELIHOOD, CORRECTED = NAMES[2], NAMES[3:]
CHANCE = 0.5


def _trainings(epochs: int, scored: int | None, *settings: str) -> dict[str, Config]:
    """A model and a background model of the other digits, for every digit."""
    return {
        f"{kind}_{digit}": Config(
            dataset="mnist",
            model_settings=settings,
            estimator="pathwise",
            without_class=digit,
            mutation_rate=rate,
            epochs=epochs,
            batch_size=200,
            learning_rate=2e-3,
            eval_num_samples=10,
            eval_examples=scored,
        )
        for digit in DIGITS
        for kind, rate in (("without", None), ("background_without", MUTATION_RATE))
    }


def _areas(trained: Mapping[str, Trained], digit: int) -> list[float]:
    """The AUROC of every score, the digit's test images against all others."""
    own, other = trained[f"without_{digit}"], trained[f"background_without_{digit}"]
    scores = anomaly_scores(
        own.model,
        own.params,
        own.data.test,
        jax.random.key(digit),
        background=(other.model, other.params),
        num_samples=SAMPLES,
    )
    assert own.data.test_labels is not None
    strange = own.data.test_labels == digit
    return [auroc(score[~strange], score[strange]) for score in scores]


def _show(trained: Mapping[str, Trained]) -> Shown:
    by_digit = np.array([_areas(trained, digit) for digit in DIGITS])
    areas = dict(zip(NAMES, by_digit.T, strict=True))
    columns = [str(digit) for digit in DIGITS]
    rows = [
        [name, *map(float, area), float(area.mean())] for name, area in areas.items()
    ]
    count = len(trained["without_0"].data.test.x)
    return Shown(
        numbers={
            f"AUROC, {name}, {which}": value
            for name, area in areas.items()
            for which, value in [
                ("mean", float(area.mean())),
                *((f"digit {digit}", float(area[digit])) for digit in DIGITS),
            ]
        },
        finding=_finding(areas),
        tables=[
            Table(
                ["score", *columns, "mean"],
                rows,
                "AUROC of the digit left out of the training (column) against the "
                f"others, among {count:,} test images; 0.5 is chance.",
            )
        ],
        figures=[
            heat_map(
                {name: list(area) for name, area in areas.items()},
                columns,
                "AUROC",
                across="digit left out of the training",
                span=(0.0, 1.0),
            )
        ],
    )


def _finding(areas: Mapping[str, Float[np.ndarray, " C"]]) -> str:
    """The likelihood's failure on 1s, and the effect of the corrected scores."""

    def found(name: str) -> str:
        others = np.delete(areas[name], KNOWN_FAILURE).mean()
        return f"{areas[name][KNOWN_FAILURE]:.2f} (the other nine {others:.2f})"

    likelihood = areas[LIKELIHOOD]
    shown = likelihood.argmin() == KNOWN_FAILURE and likelihood[KNOWN_FAILURE] < CHANCE
    corrected = [
        f"with the {name} score it is {found(name)}, "
        f"{'above' if areas[name][KNOWN_FAILURE] > CHANCE else 'still below'} chance"
        for name in CORRECTED
    ]
    return (
        f"AUROC of the 1 when it is left out, by the {LIKELIHOOD}: "
        f"{found(LIKELIHOOD)}; the known failure is {'' if shown else 'not '}shown. "
        + "; ".join(corrected).capitalize()
        + ". Mean over all ten digits: "
        + ", ".join(f"{name} {area.mean():.2f}" for name, area in areas.items())
        + "."
    )


anomaly_detection = Entry(
    title="Anomaly detection",
    text=(
        "A model of nine digits, and how strange it finds the tenth, by five scores: "
        "the error and the probability of the reconstruction (An and Cho 2015), the "
        "likelihood, its ratio to that of a background model trained on the same "
        f"images with {MUTATION_RATE:.0%} of the pixels set at random (Ren et al. "
        "2019, arXiv:1906.02845), and the likelihood less the length of the image as "
        "zlib compresses it (Serra et al. 2020, arXiv:1909.11480). A 1 is simpler "
        "than the digits trained on, so that a likelihood finds it the more normal."
    ),
    presets={
        "short": _trainings(3, 2000, "latent_dim=20", "hidden=256"),
        "paper": _trainings(100, None, "latent_dim=200", "hidden=400"),
    },
    show=_show,
)
