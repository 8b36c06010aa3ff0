"""A table of 12 columns of mixed kinds, a fifth of its values missing.

python docs/examples/table.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax import Example, fit, log_likelihood, make_objective
from vaejax.bounds import iwae
from vaejax.estimators import dreg
from vaejax.evaluation import impute
from vaejax.families import schema_of
from vaejax.models import gaussian_mlp


def table(rows: int, seed: int = 0) -> np.ndarray:
    """People's figures, all of which two hidden numbers move."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    noise = rng.normal(size=(7, rows))
    columns = [
        *(170 + 8 * a + 3 * noise[0], 70 + 9 * a + 5 * b + 4 * noise[1]),
        *(120 + 12 * b + 6 * noise[2], 37 + 0.2 * b + 0.1 * noise[3]),
        *(np.exp(10 + 0.5 * a + 0.8 * noise[4]), np.exp(2 * b + noise[5])),
        *(rng.poisson(np.exp(3 + 0.3 * b)), rng.poisson(np.exp(3 - 0.4 * a))),
        *(a + noise[6] > 0, rng.random(rows) < 1 / (1 + np.exp(2 * b))),
        *(np.digitize(a, [-1, 0, 1]), np.argmax([a, b, 0 * a], axis=0)),
    ]
    return np.stack(columns, 1).astype(float)


def main(epochs: int = 200, rows: int = 2000) -> dict[str, float]:
    """Train, impute, and return the errors beside those of the columns' averages."""
    truth = table(rows)
    gaps = np.random.default_rng(1).random(truth.shape) < 0.2
    x = np.where(gaps, np.nan, truth)
    schema = schema_of(x)
    print(schema)
    model = gaussian_mlp(
        data_shape=(12,),
        latent_dim=4,
        hidden=(64, 64),
        likelihood="columns",
        likelihood_settings={"columns": schema.columns},
    )
    objective = make_objective(model, iwae(), dreg(), num_samples=8)
    trained = fit(
        *(objective, optax.adam(1e-3), Example(jnp.asarray(x))),
        epochs=epochs,
        batch_size=100,
        key=jax.random.key(0),
    )
    arguments = model, trained.params, Example(x[:200]), jax.random.key(1)
    print(log_likelihood(*arguments, num_samples=1000))
    filled = impute(*arguments, num_samples=1000)
    gaps, truth = gaps[:200], truth[:200]
    numbers, classes = np.arange(8), np.arange(8, 12)
    usual = np.concatenate(
        [
            np.nanmean(x, 0)[numbers],
            [np.bincount(col[~np.isnan(col)].astype(int)).argmax() for col in x.T[8:]],
        ]
    )
    found = {}
    for name, values in {"columns": filled.x, "average or mode": usual[None]}.items():
        off = ((values - truth) / np.nanstd(x, 0))[:, numbers]
        wrong = (values != truth)[:, classes]
        error = np.sqrt(np.mean(off[gaps[:, numbers]] ** 2))
        share = np.mean(wrong[gaps[:, classes]])
        print(f"{name:16} RMSE {error:.3f}, classes wrong {share:.3f}")
        found |= {f"{name}, RMSE": error, f"{name}, wrong": share}
    return found


if __name__ == "__main__":
    main()
