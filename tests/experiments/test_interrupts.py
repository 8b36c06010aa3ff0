"""Ctrl-C and SIGTERM: none is lost in a finaliser, and a repeated one counts once."""

import signal
import time

import pytest

from experiments.harness import interrupts
from experiments.harness.interrupts import handled, interrupt, noted_interrupts

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGALRM


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setattr(interrupts, "_last", -interrupts.REPEAT)


class Finalised:
    """An object that is interrupted as it goes, where Python drops exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_in_a_finaliser_is_raised_a_moment_later():
    def finalise():
        with handled(interrupt, *SIGNALS):
            Finalised()
            time.sleep(5)

    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        finalise()
    assert before == [signal.getsignal(number) for number in SIGNALS]


def test_a_signal_that_comes_twice_at_once_is_one_interrupt():
    """As `timeout` sends it, to a process and to its group."""
    seen = []

    def interrupted_twice():
        with handled(interrupt, *SIGNALS), noted_interrupts() as interrupted:
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
                seen.append(interrupted())

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert seen == [True, True]
