"""The regimes of the study of coverage: gradients whose statistics are known.

Planted gradients (`planted_gradients`) have the mean and the noise that are asked for;
estimators are measured on toys (`toy_gradients`).
"""

from collections.abc import Iterator

from experiments.benchmark.known_gradients import Maker
from experiments.benchmark.planted_gradients import AlongNoise, Planted
from experiments.benchmark.toy_gradients import on_toys


def regimes() -> dict[str, Maker]:
    """The maker of every regime, by name; a regime is made when it is measured."""
    return {planted.name: planted.make for planted in _planted()} | on_toys()


def _planted() -> Iterator[Planted | AlongNoise]:
    for size in (1, 5, 50):
        for sds in (0, 1, 2, 3, 4):
            name = f"bias of {sds} sd, {size} parameters"
            yield Planted("weak bias", name, size, bias=sds)
        for law in ("lognormal", "t3"):
            for share in (0.1, 1.0):
                name = f"{law}, {share:g} of the draws, {size} parameters"
                yield Planted("heavy tails", name, size, law, share=share)
        for few in (10, 16, 40, 200):
            name = f"{few} draws, {size} parameters"
            yield Planted("few draws", name, size, draws=few)
    for size in (5, 50):
        for length in (1, 3, 10):
            name = f"|g|^2 of {length} times its noise, {size} parameters"
            yield Planted("weak signal", name, size, length=length)
    for size in (2, 5, 50):
        for sds in (2, 4, 8):
            for draws in (10, None):
                asked = f", {draws} draws" if draws else ""
                name = f"one main direction, {sds} sd, {size} parameters{asked}"
                yield AlongNoise(name, size, sds, draws)
