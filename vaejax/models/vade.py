"""VaDE: clusters as the components of the prior of a variational autoencoder.

    p(c) = weight_c,   p(z|c) = N(loc_c, diag(scale_c^2)),   p(x|z) from decoder(z),
    q(z|x) = N(loc(x), diag(scale(x)^2)),   q(c|z) = p(c|z) in closed form

The paper's bound is, by its equation 13,

    E_q(z|x) [log p(x|z) + log p(z) - log q(z|x)] - E_q(z|x) KL(q(c|x) || p(c|z)),

with q(c|x) = E_q(z|x) p(c|z), estimated from one sample. Here q(c|z) = p(c|z) at every
z, the optimum over all q(c|z, x): the second term is 0, and the first is the bound of a
model whose prior is the mixture p(z) = sum_c weight_c p(z|c). This bound is never below
the paper's, and equal where each z has a single component; any bound and estimator of
real latents applies to this model.

Training starts from an autoencoder of the same networks (`autoencoder=True`, under the
bound `reconstruction`) and a mixture that is fitted to its codes (`Extras.start`).

Source: Jiang et al. 2017, arXiv:1611.05148.
"""

import dataclasses
import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Couplings,
    Example,
    Family,
    Key,
    Model,
    OwnSamples,
    Params,
    VaejaxError,
    check_data,
)
from vaejax.core.ranges import Shape
from vaejax.families import (
    FullNormalParams,
    MixtureParams,
    NormalParams,
    diagonal_normal,
)
from vaejax.families.point_mass import WHY_NO_OTHER
from vaejax.families.shared_mixture import component_log_probs
from vaejax.models.assembly import from_mlps
from vaejax.models.parts import NONE, Settings, named_likelihood
from vaejax.priors import gaussian_mixture

STARTS = 20  # fits of the mixture, of which one is kept
MOST_CODES = 5_000  # codes in a fit, unless there are more components


def vade(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 10,
    num_components: int = 10,
    hidden: Sequence[int] = (500, 500, 2000),
    activation: str = "relu",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
    covariance: str = "diagonal",
    autoencoder: bool = False,
) -> Model:
    """A VAE with a mixture of C normal clusters as its prior; the paper's networks.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's output bias starts there, and the
            encoder sees x less it.
        latent_dim: number of latents.
        num_components: C.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
        covariance: of a cluster, `diagonal` as in the paper, or `full`.
        autoencoder: z is the posterior's mean, for the training that comes before.
    """
    model = from_mlps(
        "vade",
        posterior=_mean_alone() if autoencoder else diagonal_normal(),
        prior=gaussian_mixture(latent_dim, num_components, covariance),
        likelihood=named_likelihood(likelihood, likelihood_settings),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
    if autoencoder:
        return model

    def class_log_probs(params: Params, x: Array) -> Float[Array, " C"]:
        z = model.posterior.mean(model.encode(params, Example(x)))
        return cluster_log_probs(params, z)

    def start(params: Params, examples: Example, key: Key) -> Params:
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        codes = _codes(model, params, check_data(model, examples))
        return params._replace(
            prior=fit_mixture(codes, num_components, seed, covariance)
        )

    extras = dataclasses.replace(
        model.extras, start=start, class_log_probs=class_log_probs
    )
    return dataclasses.replace(model, extras=extras)


def fit_mixture(
    codes: Float[np.ndarray, "N Z"],
    num_components: int,
    seed: int,
    covariance: str = "diagonal",
) -> MixtureParams:
    """Means and covariances of clusters of the codes, of equal weights.

    Expectation maximisation runs from several clusterings, each on some of the codes.
    The likelihood favours fits that halve one cluster and join two others; the fit kept
    has the highest completed likelihood of all codes, the mean of log p(z) less the
    entropy of p(c|z) (Biernacki, Celeux and Govaert 2000), which overlapping clusters
    lower. The fitted covariances are full, as they separate clusters better, even where
    only their diagonals are kept.

    Raises:
        VaejaxError: fewer codes than clusters.
    """
    from scipy.stats import entropy
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    if num_components > len(codes):
        raise VaejaxError(
            f"num_components is {num_components}, and there are only {len(codes)} "
            "examples to cluster: use fewer components"
        )
    codes, rng = np.asarray(codes, np.float64), np.random.default_rng(seed)
    mixture, best = None, -np.inf
    # The matrices are small: threads that share them take ten times as long.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # training goes on anyway
        for own_seed in rng.integers(2**31, size=STARTS):
            few = rng.permutation(len(codes))[: max(MOST_CODES, num_components)]
            found = GaussianMixture(num_components, random_state=int(own_seed))
            found.fit(codes[few])
            found.weights_ = np.full(num_components, 1 / num_components)
            # Scored on all codes: on its own few codes an overfitted fit would win.
            overlap = entropy(found.predict_proba(codes), axis=1).mean()
            if (score := found.score(codes) - overlap) > best:
                mixture, best = found, score
    assert mixture is not None
    components: NormalParams | FullNormalParams
    if covariance == "full":
        factors = np.linalg.cholesky(mixture.covariances_)
        for factor in factors:
            np.fill_diagonal(factor, np.log(np.diagonal(factor)))
        components = FullNormalParams(mixture.means_, jnp.asarray(factors))
    else:
        variances = np.diagonal(mixture.covariances_, axis1=1, axis2=2)
        components = NormalParams(mixture.means_, 0.5 * np.log(variances))
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, float),
        MixtureParams(np.log(mixture.weights_), components),
    )


def cluster_log_probs(params: Params, z: Float[Array, " Z"]) -> Float[Array, " C"]:
    """The log p(c|z) of every component of the prior, the paper's q(c|x) at z."""
    log_weights, components = params.prior
    log_q = component_log_probs(components, z)
    return jax.nn.log_softmax(jax.nn.log_softmax(log_weights) + log_q)


def _mean_alone() -> Family:
    """The point mass at a normal distribution's location; the scale is not used."""
    return dataclasses.replace(
        diagonal_normal(),
        name="normal_mean",
        sample=lambda key, params: params.loc,
        log_prob=lambda params, z: jnp.zeros(()),
        factorised=False,
        kl=None,
        quadrature=None,
        has_density=False,
        own_samples=OwnSamples(costly_log_prob=WHY_NO_OTHER),
        couplings=Couplings(),
    )


def _codes(model: Model, params: Params, examples: Example) -> Float[np.ndarray, "N Z"]:
    """The mean of q(z|x) of every example."""

    @jax.jit
    def means(params: Params, examples: Example) -> Array:
        return jax.lax.map(
            lambda example: model.posterior.mean(model.encode(params, example)),
            examples,
            batch_size=1000,
        )

    return np.asarray(means(params, examples))
