"""The records of a distribution: `Family`, its `Head` and its capabilities."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
from jaxtyping import Array, Float

from vaejax.core.errors import IncompatibleError
from vaejax.core.values import DistParams, Event, Key, PyTree, Scalar, record


class Measure(NamedTuple):
    """The derivative of a distribution, as a scaled difference of two distributions.

    For every parameter lam_i, which moves coordinate i alone,

        d/d lam_i E f(z) = E c_i (f(z; z_i = positive_i) - f(z; z_i = negative_i))

    Each field has the structure of the parameters; `positive_i` and `negative_i` are
    one draw of the pair, coupled, and the constant c_i may be drawn with them.
    """

    constant: DistParams
    positive: DistParams
    negative: DistParams


@record
class Relaxation:
    """Continuous stand-ins for a discrete event, driven by uniform noise u in (0, 1).

    `soft` tends to `hard` as the temperature falls to 0; every function but `hard` is
    differentiable in the parameters.
    """

    noise: Callable[[Key, DistParams], Array]  # u, independent of the parameters
    soft: Callable[[DistParams, Array, Scalar | float], Event]  # at a temperature > 0
    hard: Callable[[DistParams, Array], Event]  # equal in law to the family's `sample`
    # A draw of `soft` given that `hard` returns this event, from fresh noise v.
    conditional: Callable[[DistParams, Array, Event, Scalar | float], Event]
    # Returns the relaxed event with the derivative in the parameters that the family's
    # mean has where the mean equals this event. So `soft`, a mean at perturbed
    # parameters, has the derivative of `as_mean(lam, soft) / temperature`.
    as_mean: Callable[[DistParams, Event], Event]


@record
class Strata:
    """The components of a mixture, sum_c weight_c q_c(z), for stratified sampling."""

    component: "Family"  # the family of every q_c
    # Maps the mixture's parameters to log weight_c, [C], normalised, and the
    # components' parameters, every leaf [C, ...].
    split: Callable[[DistParams], tuple[Float[Array, " C"], DistParams]]


@record
class Conditionals:
    """The factors of a chain of layers, each conditional on an adjacent layer."""

    layer: "Family"  # the family of every factor, factorised
    # Maps the chain's parameters and an event to the parameters of z_1 to z_L, each
    # given the rest of the event.
    split: Callable[[DistParams, Event], tuple[DistParams, ...]]


# fmt: off
Kind = Literal[
    "reals", "positive", "interval", "simplex", "sphere",
    "bits", "one_hot", "counts", "levels",
]
# fmt: on


class Space(NamedTuple):
    """The space of a distribution's outcomes.

    A density over one kind of space is no density over another, except that positive
    numbers and intervals are real numbers.
    """

    kind: Kind = "reals"  # space of one coordinate, or of the event if joined
    levels: int | None = None  # for "levels": outcomes i / (levels - 1), i < levels
    low: float = 0.0  # for "interval": the lower end
    high: float = 1.0  # for "interval": the upper end
    open: bool = False  # for "interval": the ends are no outcomes
    missing: bool = False  # NaN marks a coordinate that is not observed


@record
class Head:
    """The map from a network's outputs to a family's parameters.

    The network's outputs are an array [outputs_per_coordinate, *event] of real numbers.
    """

    outputs_per_coordinate: int  # real numbers for each coordinate of the event
    # Maps these outputs, and the family's weights if any, to the parameters.
    from_outputs: Callable[..., DistParams]
    to_outputs: Callable[[Array], Array]  # maps a mean to outputs that give this mean
    # Initialises the family's learned weights besides a network's outputs, such as the
    # layers of a flow. The weights are the second argument of `from_outputs`, and part
    # of the parameters.
    weights: Callable[[Key], PyTree] | None = None

    def read(self, outputs: Array, weights: PyTree) -> DistParams:
        """Map a network's outputs and the family's weights to the parameters."""
        if self.weights is None:
            return self.from_outputs(outputs)
        return self.from_outputs(outputs, weights)


@record
class Restriction:
    """A restriction of a family to a subset of its parameters."""

    law: str  # the name of the whole family, whose divergences hold for the subset
    # The nearest parameters in the subset, after a step in the parameters.
    project: Callable[[DistParams], DistParams]
    # The reason for refusing a prior of this name beside such a posterior, or None.
    needs: Callable[[str], str | None]


@record
class Outcomes:
    """The outcomes of a discrete event with finitely many outcomes."""

    support: Callable[[DistParams], Event]  # every outcome, [S, *event]
    count: Callable[[Event], int]  # S, from an event's shape


@record
class OwnSamples:
    """Operations on samples from the family that differ from those on other events."""

    # A draw with its log-density, where this costs less than `log_prob` of the draw.
    sample_and_log_prob: Callable[[Key, DistParams], tuple[Event, Scalar]] | None = None
    # The reason why `log_prob` of an event is too costly for training, or None. With a
    # reason, `pathwise` and evaluation use `sample_and_log_prob`; others are refused.
    costly_log_prob: str | None = None


@record
class Couplings:
    """Coupled random variables, each for one kind of gradient estimator."""

    # A draw of the signed measures that differentiate the distribution.
    measure: Callable[[Key, DistParams], Measure] | None = None
    # Two events, each distributed as `sample`, that share their noise as u and 1 - u.
    antithetic: Callable[[Key, DistParams], tuple[Event, Event]] | None = None
    # The event as a function of the parameters, at fixed noise:
    # T(T^-1(z; stopped params); params) for a transport T of the noise.
    retrace: Callable[[DistParams, Event], Event] | None = None
    relax: Relaxation | None = None  # a discrete event and its continuous stand-in


@record
class Family:
    """A distribution over one event, pure in (key, dist_params, event).

    A capability is a field that is not None, here or in `own_samples` and `couplings`;
    functions that need a capability check the field by name.
    """

    name: str  # in messages and reports
    sample: Callable[[Key, DistParams], Event]  # one event
    log_prob: Callable[[DistParams, Event], Scalar]  # summed over the event
    mean: Callable[[DistParams], Event]  # the expectation, or a substitute for it
    head: Head | None = None  # the map from a network's outputs to parameters
    space: Space = Space()  # the space of the outcomes
    # The coordinates are independent, and each parameter's last axes are the event's.
    factorised: bool = False
    # Samples are differentiated in the parameters as the function of noise that
    # `sample` computes, or by the derivative of the distribution function.
    reparam: Literal["explicit", "implicit"] | None = None
    kl: Callable[[DistParams, DistParams], Scalar] | None = None  # KL(first || second)
    # Events [S, *event] and weights [S] whose weighted sum of f tends to E f as the
    # number of nodes per coordinate grows.
    quadrature: Callable[[DistParams, int], tuple[Event, Array]] | None = None
    outcomes: Outcomes | None = None  # for sums over all events
    exact_mean: bool = True  # `mean` is the expectation, not a substitute for it
    normalized: bool = True  # exp(log_prob) integrates, or sums, to one
    # False for an outcome that is a function of x, or of x and noise, as the code of an
    # autoencoder. Its `log_prob` is 0; only bounds without log q take such a family.
    has_density: bool = True
    own_samples: OwnSamples = OwnSamples()  # densities of samples from the family
    couplings: Couplings = Couplings()  # for particular gradient estimators
    strata: Strata | None = None  # for stratified sampling of a mixture
    conditionals: Conditionals | None = None  # the factors of a chain of layers
    restriction: Restriction | None = None  # for a subset of another family
    # Maps an event to the numbers that an encoder sees of it, where these are others.
    features: Callable[[Event], Array] | None = None

    @property
    def law(self) -> str:
        """The name of the unrestricted family."""
        return self.name if self.restriction is None else self.restriction.law


def log_probs(family: Family, dist_params: DistParams, x: Array) -> Float[Array, " D"]:
    """The log-density of each coordinate of an event of a `factorised` family.

    A coordinate of one-hot vectors is a vector. The sum is `log_prob`.
    """
    own = x.shape[-1:] if family.space.kind == "one_hot" else (1,)

    def flat(leaf: Array) -> Array:
        return leaf.reshape(*leaf.shape[: leaf.ndim - x.ndim], -1, *own)

    each = jax.vmap(family.log_prob, (-2, 0))
    return each(jax.tree.map(flat, dist_params), flat(x))


def head_of(family: Family) -> Head:
    """Return the family's head, which maps a network's outputs to parameters.

    Raises:
        IncompatibleError: a family without a head.
    """
    if family.head is None:
        raise IncompatibleError(
            f"{family.name} has no head, which turns a network's outputs into its "
            "parameters: use a family with a head, such as diagonal_normal, or give "
            "the Model functions that return the parameters"
        )
    return family.head
