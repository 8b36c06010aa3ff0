"""A table with missing values: what a model fills in, beside two other ways.

    python docs/examples/missing_values.py

Wisconsin breast cancer of scikit-learn, 30 real columns; half of the values are
removed, completely at random, and imputed.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer

from vaejax import Example, fit, make_objective
from vaejax.bounds import iwae
from vaejax.estimators import dreg
from vaejax.evaluation import impute
from vaejax.models import gaussian_mlp


def main(epochs: int = 500, share: float = 0.5, seed: int = 0) -> dict[str, float]:
    """Print and return the root mean square error of every way, in deviations."""
    rng = np.random.default_rng(seed)
    table = load_breast_cancer().data
    gaps = rng.random(table.shape) < share
    holes = np.where(gaps, np.nan, table)
    mean, scale = np.nanmean(holes, 0), np.nanstd(holes, 0)
    truth, x = (table - mean) / scale, (holes - mean) / scale

    # Model: NaN in x marks what is missing, and log p(x | z) leaves it out.
    model = gaussian_mlp(
        data_shape=(x.shape[1],),
        latent_dim=10,
        hidden=(128, 128),
        likelihood="shared_normal",
        likelihood_settings={"missing": True, "initial_scale": 0.5},
    )
    # With this bound it is MIWAE.
    objective = make_objective(model, iwae(), dreg(), num_samples=20)
    trained = fit(
        *(objective, optax.adam(1e-3), Example(jnp.asarray(x))),
        epochs=epochs,
        batch_size=64,
        key=jax.random.key(seed),
    )
    filled = impute(
        model, trained.params, Example(x), jax.random.key(1), num_samples=2000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        iterated = IterativeImputer(max_iter=50, random_state=seed).fit_transform(x)
    ways = {
        "mean": SimpleImputer().fit_transform(x),
        "IterativeImputer": iterated,
        "MIWAE": filled.x,
    }
    errors = {
        name: float(np.sqrt(np.mean((values - truth)[gaps] ** 2)))
        for name, values in ways.items()
    }
    for name, error in errors.items():
        print(f"{name:18} {error:.3f}")
    print(
        f"effective sample size {np.median(filled.effective_sample_size):.0f} of 2000"
    )
    return errors


if __name__ == "__main__":
    main()
