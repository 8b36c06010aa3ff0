"""The evaluation of a run on its test split, and the figures in its results.json."""

import math
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.harness.progress import COMPILING, progress_bar
from experiments.training.run import Run
from vaejax.core import Key, Model, Params, VaejaxError
from vaejax.data import LEVELS
from vaejax.evaluation import (
    LogLikelihood,
    LogNormalizer,
    active_units,
    bits_per_dim,
    log_likelihood,
    log_normalizer,
    reconstruction,
)


def evaluate(run: Run, params: Params, key: Key, num_samples: int) -> LogLikelihood:
    """The log-likelihood of every test image, with its error, and a progress bar.

    Standardised data have it in their own units, by the logarithm of the Jacobian.

    Raises:
        VaejaxError: it is not finite.
    """
    count = len(run.data.test.x)
    with progress_bar("log-likelihood", count, "images") as update:
        update(0, COMPILING)
        estimate = log_likelihood(
            run.model,
            params,
            run.data.test,
            key,
            num_samples=num_samples,
            progress=partial(update, note=""),
        )
    if not np.isfinite(estimate.log_px).all():
        raise VaejaxError(
            "the log-likelihood of some test images is not finite: look at the metrics "
            f"in {run.config.out}, and lower the learning rate"
        )
    if (units := run.dataset.standardization) is None:
        return estimate
    jacobian = units.log_scale(run.data.test.x)
    return estimate._replace(
        log_px=estimate.log_px - jacobian, elbo=estimate.elbo - jacobian
    )


def final_figures(run: Run, seeds: list[Params]) -> dict[str, Any]:
    """The figures of the test split; for several seeds, their means and spreads.

    The figures are log-likelihood, ELBO and active units. For an autoencoder, whose
    code has no density, reconstruction errors replace the first two.

    Args:
        run: trained, or loaded by `load_run`.
        seeds: the parameters of every seed, as `run.params_by_seed` gives them.

    Raises:
        VaejaxError: a log-likelihood that is not finite.
    """
    key = run.keys.evaluate
    keys = jax.random.split(key, len(seeds)) if len(seeds) > 1 else [key]
    tests = [_figures(run, *one) for one in zip(seeds, keys, strict=True)]
    return tests[0] if len(tests) == 1 else over_seeds(tests)


def _figures(run: Run, params: Params, key: Key) -> dict[str, Any]:
    model, test = run.model, run.data.test
    count = len(test.x)
    units = {"active_units": active_units(model, params, test)}
    if not model.posterior.has_density:
        kept = reconstruction(model, params, test)
        figures = {name: float(of.mean()) for name, of in kept._asdict().items()}
        return {**figures, "num_examples": count, **units}
    start = time.perf_counter()
    estimate = evaluate(run, params, key, run.config.eval_num_samples)
    seconds = time.perf_counter() - start
    summary: dict[str, Any] = estimate.summary()
    if not model.latent_prior.normalized:
        key = jax.random.fold_in(key, count)  # not among the examples' keys
        summary |= normalized(summary, log_normalizer(model, params, test, key))
    return {
        **summary,
        **bits(model, run.data.protocol, summary["log_likelihood"]),
        **units,
        "images_per_second": count / seconds,
    }


def normalized(summary: dict[str, Any], normalizer: LogNormalizer) -> dict[str, Any]:
    """The figures for an unnormalized prior, corrected by its log-normalizer."""
    found: dict[str, Any] = {
        "log_normalizer": normalizer.value,
        "log_normalizer_error": normalizer.error,
    }
    for name, error in (
        ("log_likelihood", "monte_carlo_error"),
        ("elbo", "elbo_error"),
    ):
        found[name] = summary[name] - normalizer.value
        if summary[error] is not None:
            found[error] = float(np.hypot(summary[error], normalizer.error))
    return found


def bits(model: Model, protocol: str, log_px: float) -> dict[str, float]:
    """The bits per dimension of grey levels, if the likelihood defines them."""
    family = model.likelihood
    dequantized = protocol == "dequantized" and family.normalized
    if family.space.missing:  # the coordinates differ in number
        return {}
    if not dequantized and (protocol != "none" or family.space.levels != LEVELS):
        return {}
    num_dims = math.prod(model.data_shape or ())
    return {
        "bits_per_dim": bits_per_dim(log_px, num_dims, LEVELS if dequantized else None)
    }


def over_seeds(tests: list[dict[str, Any]]) -> dict[str, Any]:
    """The means over the seeds, the errors of these means, and the spreads."""

    def mean(figure: str) -> float | None:
        values = [test[figure] for test in tests]
        return None if None in values else float(np.mean(values))

    means = {name: mean(name) for name in tests[0]}
    means["num_examples"] = tests[0]["num_examples"]

    def together(error: str) -> float | None:
        errors = [test[error] for test in tests]
        return None if None in errors else float(np.linalg.norm(errors) / len(tests))

    def spread(figure: str) -> float:
        return float(np.std([test[figure] for test in tests], ddof=1))

    if "log_likelihood" not in means:
        return means | {
            "squared_error_standard_deviation_over_seeds": spread("squared_error"),
            "seeds": tests,
        }
    return means | {
        "num_samples": tests[0]["num_samples"],
        "monte_carlo_error": together("monte_carlo_error"),
        "elbo_error": together("elbo_error"),
        "standard_deviation_over_seeds": spread("log_likelihood"),
        "elbo_standard_deviation_over_seeds": spread("elbo"),
        "seeds": tests,
    }
