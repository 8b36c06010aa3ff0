"""Bits per dimension: the model's code length for a number of the data.

    bits = -log p(x) / (D log 2)           p a probability of discrete data

For a density p of dequantised data y = (x + u) / L, with x one of L grey levels and u
uniform on [0, 1)^D, the cell of x has the volume L^-D, and by Jensen's inequality

    E_u[-log p(y)] + D log L  >=  -log P(x),     P(x) = int over the cell of x of p(y)

so that log2 L bits (8 for 256 levels) are added, and the result is an upper bound
on the bits of the discrete model that the density implies. It rests on the noise: a
density of the grey levels themselves grows without bound as the model learns their
places, and has no bits (Uria, Murray and Larochelle 2013, arXiv:1306.0186; Theis, van
den Oord and Bethge 2016, arXiv:1511.01844).
"""

import math


def bits_per_dim(
    log_px: float, num_dims: int, dequantized_levels: int | None = None
) -> float:
    """The bits per dimension of a log-likelihood in nats per example.

    A lower bound on log p(x), as by importance sampling, is an upper bound on bits.

    Args:
        log_px: log p(x), the mean over examples, of the discrete data or of dequantised
            data on [0, 1].
        num_dims: D, the numbers that an example is made of.
        dequantized_levels: L, where p is a density of dequantised data.
    """
    bits = -log_px / (num_dims * math.log(2))
    return bits if dequantized_levels is None else bits + math.log2(dequantized_levels)
