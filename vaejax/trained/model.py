"""A trained model, and what users do with it.

Every function takes and returns arrays of many examples, in the data's own units and
shapes (see `vaejax.trained.units`), and divides them into batches by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float

from vaejax import evaluation
from vaejax.core import (
    Event,
    Example,
    Key,
    Model,
    Params,
    PyTree,
    VaejaxError,
    check_data,
    check_labels,
    check_lengths,
    record,
)
from vaejax.core.doors import expect_count, expect_key, no_count
from vaejax.trained import per_example, units
from vaejax.trained.batches import over_rows
from vaejax.trained.checks import (
    check_continuous,
    expect_keys,
    expect_latents,
    expect_word,
    holds_weights,
)
from vaejax.trained.recipe import Recipe

SCORES = (
    "negative_log_likelihood",
    "reconstruction_probability",
    "reconstruction_error",
)


@record
class TrainedModel:
    """The model of a run, its parameters, and the units of its data."""

    folder: Path  # of the run
    recipe: Recipe  # the model by name, the protocol, what it has from its data
    model: Model
    params: Params  # of one seed, without those of estimators and regularizers
    config: Mapping[str, Any]  # the settings of the run, as in config.json
    seed: int = 0  # the number of the model, of several that were trained together

    def __repr__(self) -> str:
        """A line with the model, the shape of its data, the protocol and the folder."""
        recipe = self.recipe
        return (
            f"TrainedModel({recipe.model} of {recipe.data_shape} data, protocol "
            f"{recipe.protocol}, seed {self.seed} of {recipe.num_seeds}, in "
            f"{self.folder})"
        )

    @property
    def seeds(self) -> range:
        """The seeds that `vaejax.load(folder, seed=...)` takes."""
        return range(self.recipe.num_seeds)

    def examples(self, x: Any, y: Any = None, *, seed: int = 0) -> Example:
        """Turn stored values into the observations that `self.model` takes.

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            seed: of the protocol's draw, as of the bits of the protocol dynamic.

        Raises:
            VaejaxError: values or labels that the model does not take.
        """
        x = units.observed(self.recipe, x, seed)
        return check_data(self.model, Example(x, units.numbered(self.recipe, y)))

    def encode(
        self,
        x: Any,
        y: Any = None,
        *,
        what: Literal["mean", "sample", "params"] = "mean",
        key: Key | None = None,
        seed: int = 0,
    ) -> PyTree:
        """Encode observations: the mean, a sample or the parameters of q(z | x).

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            what: mean, sample or params.
            key: of the samples (default: `jax.random.key(0)`).
            seed: of the protocol's draw.

        Returns:
            An event or parameters of `model.posterior`, every leaf [N, ...].

        Raises:
            VaejaxError: what `examples` refuses; the parameters of a posterior that
                depend on a network besides x.
        """
        expect_word("what", what, ("mean", "sample", "params"))
        if what == "params" and holds_weights(self.model, self.params):
            raise VaejaxError(
                f"the posterior of {self.model.name} has networks among its "
                "parameters, which are not of one x: use what='mean' or 'sample'"
            )
        examples = self.examples(x, y, seed=seed)
        rows = expect_keys(key, len(examples.x)), examples
        return over_rows(per_example.encode, (self.model, what), self.params, rows)

    def decode(self, z: Event, y: Any = None) -> Float[np.ndarray, "N ..."]:
        """The mean of p(x | z) at every z, in the data's units.

        Args:
            z: as `encode` returns them, every leaf [N, ...].
            y: labels, [N], of a model that takes them.

        Raises:
            VaejaxError: z of another shape, or that are not finite.
        """
        z, count = expect_latents(self.model, self.params, z)
        rows = z, self._labels(y, count)
        return self._own(over_rows(per_example.decode, self.model, self.params, rows))

    def sample(
        self,
        key: Key,
        n: int,
        y: Any = None,
        *,
        what: Literal["mean", "sample"] = "mean",
    ) -> Float[np.ndarray, "n ..."]:
        """Draw z from the prior; return the mean of p(x | z), or a draw from it.

        Args:
            key: consumed.
            n: how many.
            y: a label for all, or one for each, of a model that takes them.
            what: mean, or sample for draws of x.

        Raises:
            VaejaxError: a key or a count that is none; labels that are missing.
        """
        n = expect_count("n", n)
        expect_word("what", what, ("mean", "sample"))
        y = y if y is None or np.ndim(y) else np.full(n, y)
        rows = expect_keys(expect_key(key), n), self._labels(y, n)
        static = self.model, what
        return self._own(over_rows(per_example.sample, static, self.params, rows))

    def reconstruct(
        self, x: Any, y: Any = None, *, seed: int = 0
    ) -> Float[np.ndarray, "N ..."]:
        """The mean of p(x | z) at the mean of q(z | x), in the data's units.

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            seed: of the protocol's draw.
        """
        rows = self.examples(x, y, seed=seed)
        return self._own(
            over_rows(per_example.reconstruct, self.model, self.params, rows)
        )

    def interpolate(
        self, a: Any, b: Any, steps: int = 8, y: Any = None, *, seed: int = 0
    ) -> Float[np.ndarray, "N steps ..."]:
        """The means of p(x | z) on straight lines between the codes of a and of b.

        A code is the mean of q(z | x). On a sphere the line is projected to it.

        Args:
            a: stored values, [N, *data_shape], where the lines begin.
            b: as many, where they end.
            steps: points of each line, both ends among them.
            y: labels of both, [N], of a model that takes them.
            seed: of the protocol's draw.

        Raises:
            VaejaxError: fewer than two steps; codes that are not all real numbers.
        """
        if reason := no_count("steps", steps, least=2):
            raise VaejaxError(reason)
        start, end = (self.examples(x, y, seed=seed) for x in (a, b))
        check_lengths(a=start.x, b=end.x)
        check_continuous(self.model, self.params)
        static = self.model, int(steps)
        rows = start, end
        return self._own(over_rows(per_example.interpolate, static, self.params, rows))

    def log_likelihood(
        self,
        x: Any,
        y: Any = None,
        *,
        num_samples: int = 5000,
        key: Key | None = None,
        seed: int = 0,
    ) -> evaluation.LogLikelihood:
        """Estimate log p(x) of every example, in nats, with its Monte Carlo error.

        The densities are of the data's own units; see
        `vaejax.evaluation.log_likelihood`. A prior or a likelihood that is not
        normalised gives log p(x) up to a constant.

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            num_samples: importance samples of each.
            key: of these samples (default: `jax.random.key(0)`).
            seed: of the protocol's draw.

        Raises:
            VaejaxError: a posterior without a density, as that of an autoencoder.
        """
        examples = self.examples(x, y, seed=seed)
        key = jax.random.key(0) if key is None else key
        found = evaluation.log_likelihood(
            self.model, self.params, examples, key, num_samples=num_samples
        )
        if self.recipe.standardization is None:
            return found
        change = self.recipe.standardization.log_scale(examples.x)
        return found._replace(log_px=found.log_px - change, elbo=found.elbo - change)

    def anomaly_score(
        self,
        x: Any,
        y: Any = None,
        *,
        score: Literal[
            "negative_log_likelihood",
            "reconstruction_probability",
            "reconstruction_error",
        ] = "negative_log_likelihood",
        num_samples: int = 100,
        key: Key | None = None,
        seed: int = 0,
    ) -> Float[np.ndarray, " N"]:
        """Score every example; a higher score is more anomalous.

        See `vaejax.evaluation.anomaly` for what the scores are and are not good at.

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            score: -log p(x); -E_q(z|x) log p(x | z); or the squared error of
                `reconstruct`, as the model sees x.
            num_samples: of the first two.
            key: of these samples (default: `jax.random.key(0)`).
            seed: of the protocol's draw.

        Raises:
            VaejaxError: a likelihood of an autoencoder, which has none.
        """
        expect_word("score", score, SCORES)
        if score == "negative_log_likelihood":
            found = self.log_likelihood(
                x, y, num_samples=num_samples, key=key, seed=seed
            )
            return -found.log_px
        examples = self.examples(x, y, seed=seed)
        if score == "reconstruction_error":
            return evaluation.reconstruction(
                self.model, self.params, examples
            ).squared_error
        key = jax.random.key(0) if key is None else expect_key(key)
        return -evaluation.expected_log_px_z(
            self.model, self.params, examples, key, num_samples=num_samples
        )

    def classify(self, x: Any, *, seed: int = 0) -> Float[np.ndarray, "N C"]:
        """The probability of each class of x; `recipe.class_names` has their names.

        The classes are labels for `m2`, q(y | x), and clusters for `vade`, p(c | z) at
        the mean of q(z | x), whose numbers are no labels.

        Args:
            x: stored values, [N, *data_shape].
            seed: of the protocol's draw.

        Raises:
            VaejaxError: a model without classes.
        """
        if self.model.extras.class_log_probs is None:
            raise VaejaxError(
                f"{self.model.name} has no classes: train m2 or vade, or fit a "
                "classifier of your own to what encode returns"
            )
        x = self.examples(x, seed=seed).x
        return over_rows(per_example.classify, self.model, self.params, x)

    def _labels(self, y: Any, count: int) -> Array | None:
        return check_labels(self.model, units.numbered(self.recipe, y), (count,))

    def _own(self, x: PyTree) -> np.ndarray:
        return units.in_own_units(self.recipe, x)
