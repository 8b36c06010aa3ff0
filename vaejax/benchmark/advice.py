"""The advice on an estimator: its rows, its sentence, and the table that shows it."""

import dataclasses
import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vaejax.benchmark.numbers import known, number_of
from vaejax.benchmark.ranking import SURE
from vaejax.benchmark.table import as_html, as_text

CHOICE = ("estimator", "num_samples", "num_outer", "batch_size")
SIGNAL = ("signal_per_root_second", "directional_snr")


class AdviceRow(NamedTuple):
    """A candidate: whether it is valid, its place among the others, signal and cost.

    An unknown number is NaN or None.
    """

    model: str
    bound: str
    estimator: str
    num_samples: int
    num_outer: int
    batch_size: int
    status: str
    reason: str
    verdict: str  # refused, over budget, biased, or the place
    draws: int | None = None
    signal_per_root_second: float = np.nan
    signal_per_root_second_stderr: float = np.nan
    signal_per_root_second_chance_best: float = np.nan
    directional_snr: float = np.nan
    directional_snr_stderr: float = np.nan
    directional_snr_chance_best: float = np.nan
    decoder_evaluations: int | None = None
    seconds_per_gradient: float = np.nan
    seconds_stderr: float = np.nan
    flops: float = np.nan
    peak_bytes: float = np.nan
    reference: str | None = None

    def choice(self) -> dict[str, Any]:
        """The estimator, K, M and the batch size."""
        return {name: getattr(self, name) for name in CHOICE}

    def line(self) -> dict[str, Any]:
        """The values by column; an unknown or infinite number is None."""
        return known(self._asdict())


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Advice:
    """A row per candidate, and which of them are in front."""

    rows: tuple[AdviceRow, ...]
    best: AdviceRow  # of most signal a second; recommended only if this is sure
    step_best: AdviceRow  # of the highest directional SNR of one step

    @property
    def recommended(self) -> AdviceRow | None:
        """The best candidate, if it is the best with 95% probability or more."""
        return self.best if self.best.verdict == "recommended" else None

    def sentence(self) -> str:
        """The advice: the choice, its probability and its ties; or no winner."""
        places = ("recommended", "in front", "cannot be told apart", "behind")
        contenders = [row for row in self.rows if row.verdict in places]
        tied = [row for row in contenders if row.verdict == places[2]]
        lead = f"Use {_words(self.best)}: the"
        if self.recommended is None:
            lead = (
                f"No winner: none of the candidates is the best with {SURE:.0%} "
                f"probability or more. In front is {_words(self.best)}, with the"
            )
        return (
            f"{lead} most signal per second of "
            f"{number_of(len(contenders), 'candidate')} with probability "
            f"{_percent(self.best)}"
            + "".join(f"; it cannot be told apart from {_words(row)}" for row in tied)
            + (
                "; it has the highest directional SNR per step, too."
                if self.step_best is self.best
                else f"; {_words(self.step_best)} has the highest directional SNR per "
                "step."
            )
        )

    def lines(self) -> list[dict[str, Any]]:
        """The rows as flat mappings of the columns of results.csv."""
        return [row.line() for row in self.rows]

    def shown(self) -> list[dict[str, Any]]:
        """The rows of the table that fits a screen, without what is unknown."""
        return [_shown(row) for row in self.rows]

    def __repr__(self) -> str:
        """The table as text, and the sentence."""
        return f"{as_text(_columns(self.shown()))}\n{self.sentence()}"

    def _repr_html_(self) -> str:
        """The table as a notebook shows it, and the sentence."""
        table = as_html(_columns(self.shown()))
        return f"{table}<p>{html.escape(self.sentence())}</p>"


def _columns(lines: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [str(line.get(name, "")) for line in lines] for name in names}


def _percent(row: AdviceRow) -> str:
    """The probability of being the best, rounded down so as not to overstate it."""
    chance = row.signal_per_root_second_chance_best
    percent = 100 * chance + 1e-9  # 28.999... stands for 29
    return f"{int(percent)}%" if percent < 100 else "over 99%"


def _words(row: AdviceRow) -> str:
    biased = ", biased" if row.status == "biased" else ""
    return (
        f"{row.estimator} (K = {row.num_samples}, M = {row.num_outer}, "
        f"batch size {row.batch_size}{biased})"
    )


def _shown(row: AdviceRow) -> dict[str, Any]:
    names = ("estimator", "K", "M", "batch", "verdict")
    values = (*row.choice().values(), row.verdict)
    shown: dict[str, Any] = dict(zip(names, values, strict=True))
    if row.decoder_evaluations is not None:
        shown["ms"] = f"{1e3 * row.seconds_per_gradient:.3g}"
        shown["MB"] = f"{1e-6 * row.peak_bytes:.3g}"
    if row.draws is not None:
        signal, snr = (
            f"{getattr(row, n):.3g} ± {getattr(row, f'{n}_stderr'):.1g}" for n in SIGNAL
        )
        shown |= {"signal/√s": signal, "SNR a step": snr, "draws": row.draws}
        shown["best"] = _percent(row)
    return shown
