"""The sparse autoencoder: a dictionary with more atoms than one image uses.

    x' = mean + sum_j z_j d_j,   |d_j| = 1,    z = relu(W (x - mean) + b)
    loss = |x - x'|^2 / 2 + lambda |z|_1

The atoms d_j have norm 1, otherwise the code could shrink at no cost. Instead of the
penalty the model can keep the k largest units (`k`), which sets the sparsity directly
(Makhzani and Frey 2013, arXiv:1312.5663).
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Extras, Key, Model, Params, PyTree
from vaejax.core.ranges import Shape
from vaejax.families import fixed_normal, k_sparse, point_mass
from vaejax.models.assembly import from_networks
from vaejax.nets import Network, mlp
from vaejax.ops.matmul import vector_times_matrix
from vaejax.priors import standard_normal
from vaejax.regularizers.l1_codes import l1_codes


def sparse_autoencoder(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 256,
    l1: float = 0.1,
    k: int | None = None,
) -> Model:
    """A linear encoder to a sparse code, and a dictionary of atoms of norm 1.

    Valid for: the bound `reconstruction` by the estimator `pathwise`.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation, [*data_shape]: what no atom stands for.
        latent_dim: number of atoms.
        l1: lambda, against half the squared error; without a `k` alone.
        k: keep so many units, the largest, with neither penalty nor ReLU.
    """
    size = math.prod(data_shape)
    mean = np.zeros(data_shape) if data_mean is None else data_mean

    def init(key: Key) -> PyTree:
        layer = mlp(latent_dim, (), size).init(key)["layers"][0]
        return {"atoms": layer["kernel"], "mean": jnp.ravel(mean)}

    def decode(weights: PyTree, z: Float[Array, " Z"]) -> Float[Array, " X"]:
        return vector_times_matrix(z, unit_atoms(weights["atoms"])) + weights["mean"]

    model = from_networks(
        "sparse_autoencoder",
        encoder=mlp(size, (), latent_dim),
        decoder=Network(init=init, apply=decode),
        prior=standard_normal(latent_dim),
        posterior=point_mass(units="relu") if k is None else k_sparse(k),
        likelihood=fixed_normal(scale=1.0),
        data_shape=data_shape,
        latent_dim=latent_dim,
        data_mean=data_mean,
    )
    penalties = (l1_codes(l1),) if k is None else ()
    return dataclasses.replace(model, extras=Extras(regularizers=penalties))


def dictionary(model: Model, params: Params) -> Float[Array, "Z ..."]:
    """The atoms d_j, in the shape of the data."""
    assert model.data_shape is not None
    return unit_atoms(params.decoder["atoms"]).reshape(-1, *model.data_shape)


def unit_atoms(atoms: Float[Array, "Z X"]) -> Float[Array, "Z X"]:
    """The atoms, scaled to norm 1."""
    return atoms / jnp.linalg.norm(atoms, axis=1, keepdims=True)
