"""Rows as the estimator benchmark gives them, made up by laws that are known."""

import math

import numpy as np

from vaejax.benchmark.rows import COLUMNS, row_of_line

BIASED = ("iwae", "stl")
REFUSED = {("elbo", "vimco"): "vimco needs K > 1 and no separable bound: use rloo"}
COSTS = {"pathwise": 1.0, "stl": 1.05, "dreg": 1.1, "vimco": 1.6}  # of pathwise's
SLOPES = {"pathwise": -1.0, "stl": -2.0, "dreg": -3.0, "vimco": -0.8}  # in K
ERROR = 0.03  # relative, of every statistic
TIMING = 0.01  # of the seconds


def make_rows(
    models=("linear_gaussian",),
    bounds=("elbo", "iwae"),
    estimators=tuple(COSTS),
    num_samples=(1, 4, 16, 64),
    steps=(None,),
    layers=False,
    seed=0,
):
    """Every cell; vimco refuses the ELBO, and STL is biased under IWAE at K > 1.

    The variance of the encoder's gradient is 2 K^slope, of the decoder's 2 / K, times
    a noise of 3%, which is stated as the standard error; the norm of the encoder's
    mean gradient goes with 1 / K, so that the signal-to-noise ratios obey the laws.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for model in models:
        for step in steps:
            for bound in bounds:
                for k in num_samples:
                    for estimator in estimators:
                        setting = {
                            "model": model,
                            "bound": bound,
                            "estimator": estimator,
                            "num_samples": k,
                            "num_outer": 1,
                            "batch_size": 4,
                            "step": step,
                        }
                        rows += _cell(setting, draw, layers)
    return rows


def _cell(setting, draw, layers):
    bound, estimator, k = (setting[n] for n in ("bound", "estimator", "num_samples"))
    if (bound, estimator) in REFUSED:
        blank = dict.fromkeys(_statistics("encoder", 1, 1.0, False, draw))
        status = {"status": "refused", "reason": REFUSED[bound, estimator]}
        return [setting | {"group": "all"} | status | blank | {"config_hash": "ab12"}]
    biased = (bound, estimator) == BIASED and k > 1
    groups = ["encoder", "decoder"]
    if layers:
        groups += ["encoder/layers/0/kernel", "decoder/layers/0/bias"]
    status = {"status": "biased" if biased else "unbiased", "reason": None}
    return [
        setting
        | {"group": group}
        | status
        | _statistics(group, k, SLOPES[estimator], biased and group == "encoder", draw)
        | _cost(COSTS[estimator] * (20 + k) * 1e-6)
        | {"config_hash": "ab12"}
        for group in groups
    ]


def _cost(seconds):
    return {
        "decoder_evaluations": round(seconds / 1e-6),
        "seconds_per_gradient": seconds,
        "seconds_stderr": TIMING * seconds,
        "flops": 4e9 * seconds,
        "peak_bytes": int(1e10 * seconds),
    }


def bias_of(bias: float, stderr: float) -> dict[str, float]:
    """The columns of an estimate whose error is that of no bias, too."""
    return {
        "bias_squared": bias,
        "bias_squared_stderr": stderr,
        "bias_squared_low": bias - 1.96 * stderr,
        "bias_squared_high": bias + 1.96 * stderr,
    }


def _statistics(group, k, slope, biased, draw):
    slope = slope if group.startswith("encoder") else -1.0
    variance = 2 * k**slope * (1 + ERROR * draw.normal())
    mean = 1 / k if group.startswith("encoder") else 1.0
    snr = mean / np.sqrt(variance)
    error = 1e-3 * variance
    found = {
        "reference": "the exact gradient",
        "draws": 2000,
        "pareto_k": 0.1,
        "safe": True,
        **bias_of((0.2 if biased else 0.0) + error * draw.normal(), error),
        "bias_squared_noise": error,
        "bias_squared_detectable": 3.29 * error,
        "variance_q05": 0.001 * variance,
        "variance_q50": 0.01 * variance,
        "variance_q95": 0.1 * variance,
    }
    for name, value in {
        "variance": variance,
        "snr": snr,
        "rms_snr": 1.1 * snr,
        "norm_snr": 0.9 * snr,
        "cosine": 0.99,
        "draw_cosine": snr / np.hypot(1, snr),
        "directional_snr": 1.2 * snr,
        "variance_data": 0.3 * variance,
        "variance_latents": 0.7 * variance,
        "work_normalized_variance": variance * 1e-5 * (1 + k),
        "evaluation_normalized_variance": variance * (20 + k),
    }.items():
        found |= {name: value, f"{name}_stderr": ERROR * value}
    return found | _cost(1.0)


def records(lines):
    """The rows of lines, which may lack columns or hold text, as of a CSV file."""
    blank = dict.fromkeys(COLUMNS) | {"reference_error_asked": 0.05}
    rows = [row_of_line(blank | _plain(line)) for line in lines]
    return [row._replace(trained=False) for row in rows]


def _plain(line):
    return {name: _value(value) for name, value in line.items()}


def _value(value):
    """None for what is unknown, and a number for text that is one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if value == "" else value
    if not math.isfinite(number):
        return None
    if not isinstance(value, str):
        return value
    return int(number) if number == int(number) else number
