"""A trained model, and what users do with it.

Every function takes and returns arrays of many examples, in the data's own units and
shapes (see `vaejax.trained.units`), and divides them into batches by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
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
    as_array,
    check_data,
    check_labels,
    fold_examples,
    record,
)
from vaejax.core.doors import expect_count, expect_key, expect_shapes
from vaejax.trained import per_example, units
from vaejax.trained.batches import over_rows
from vaejax.trained.recipe import Recipe


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
        return check_data(self.model, Example(units.observed(self.recipe, x, seed), y))

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
            key: of the samples.
            seed: of the protocol's draw.

        Returns:
            An event or parameters of the model's posterior, every leaf [N, ...].

        Raises:
            VaejaxError: what `examples` refuses; a sample without a key.
        """
        if what not in ("mean", "sample", "params"):
            raise VaejaxError(f"what is {what!r}: use mean, sample or params")
        examples = self.examples(x, y, seed=seed)
        if what == "sample" and key is None:
            raise VaejaxError("key is None: give one, as in key=jax.random.key(0)")
        keys = _keys(jax.random.key(0) if key is None else key, len(examples.x))
        return over_rows(
            per_example.encode, (self.model, what), self.params, (keys, examples)
        )

    def decode(self, z: Event, y: Any = None) -> Float[np.ndarray, "N ..."]:
        """The mean of p(x | z) of every z, [N, *data_shape], in the data's units.

        Args:
            z: as `encode` returns them, every leaf [N, ...].
            y: labels, [N], of a model that takes them.

        Raises:
            VaejaxError: z of another shape, or that are not finite.
        """
        z, count = self._latents(z)
        y = check_labels(self.model, y, (count,))
        return self._own(over_rows(per_example.decode, self.model, self.params, (z, y)))

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
        if what not in ("mean", "sample"):
            raise VaejaxError(f"what is {what!r}: use mean or sample")
        given = None if y is None else np.broadcast_to(as_array("y", y), (n,))
        y = check_labels(self.model, given, (n,))
        rows = _keys(key, n), y
        return self._own(
            over_rows(per_example.sample, (self.model, what), self.params, rows)
        )

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

    def log_likelihood(
        self,
        x: Any,
        y: Any = None,
        *,
        num_samples: int = 1000,
        key: Key | None = None,
        seed: int = 0,
    ) -> evaluation.LogLikelihood:
        """Estimate log p(x) of every example, in nats, with its Monte Carlo error.

        See `vaejax.evaluation.log_likelihood`. A prior or a likelihood that is not
        normalised gives log p(x) up to a constant.

        Args:
            x: stored values, [N, *data_shape].
            y: labels, [N], of a model that takes them.
            num_samples: importance samples of each.
            key: of these samples (default: `jax.random.key(0)`).
            seed: of the protocol's draw.
        """
        examples = self.examples(x, y, seed=seed)
        key = jax.random.key(0) if key is None else key
        return evaluation.log_likelihood(
            self.model, self.params, examples, key, num_samples=num_samples
        )

    def _own(self, x: PyTree) -> np.ndarray:
        return units.in_own_units(self.recipe, x)

    def _latents(self, z: Event) -> tuple[Event, int]:
        """The latents as arrays, and how many there are.

        Raises:
            VaejaxError: another structure or shape than the model's, or NaN.
        """
        asked = jax.eval_shape(
            lambda key, params, x: per_example.encode(
                (self.model, "mean"), params, (key, Example(x, self._a_label()))
            ),
            jax.random.key(0),
            self.params,
            jax.ShapeDtypeStruct(self.model.data_shape or (), jnp.result_type(float)),
        )
        leaves = [as_array("z", leaf) for leaf in jax.tree.leaves(z)]
        count = len(leaves[0]) if leaves and leaves[0].ndim else 0
        like = jax.tree.map(lambda a: np.empty((count, *a.shape), a.dtype), asked)
        if len(leaves) == len(jax.tree.leaves(asked)):
            z = jax.tree.unflatten(jax.tree.structure(asked), leaves)
        expect_shapes(
            "z", z, like, f"the model {self.model.name}", "latents as encode returns"
        )
        if not count or not all(np.isfinite(leaf).all() for leaf in leaves):
            raise VaejaxError(
                "z is empty, or holds a number that is not finite: give latents as "
                "encode returns them"
            )
        return z, count

    def _a_label(self) -> Array | None:
        return None if self.model.labels.num_classes is None else jnp.zeros((), int)


def _keys(key: Key, count: int) -> Array:
    return fold_examples(expect_key(key), jnp.arange(count))
