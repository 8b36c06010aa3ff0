"""The types of vaejax; other files define functions and values of these types.

A *model* bundles pure, per-example functions with the distribution *families* that
their outputs parameterise. A *bound* is a scalar function of K importance
log-weights. An *estimator* turns (model, bound, K) into a surrogate whose value is
the bound and whose gradient is the estimate. An *objective* is what the trainer sees.

Records hold functions: static, hashable, never a pytree. NamedTuples hold arrays. No
type is both.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform

import jax
import jaxtyping
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vaejax.core.errors import IncompatibleError, VaejaxError

Key = PRNGKeyArray
Keys = jaxtyping.Key[Array, " B"]
PyTree = Any
DistParams = PyTree  # the parameters of one distribution, as arrays
Event = PyTree  # one outcome of a distribution
Scalar = Float[Array, ""]
EstState = PyTree  # an estimator's state between steps (a moving average, say)
Stats = dict[str, Scalar]  # the figures that an estimator reports for one example

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass: a static bundle of functions."""
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    init: Callable[..., None] = made.__init__

    @functools.wraps(init)
    def by_name(self: T, *positional: Any, **fields: Any) -> None:
        if positional:
            names = ", ".join(f"{name}=..." for name in cls.__annotations__)
            raise VaejaxError(
                f"{cls.__name__} takes its fields by name, and was given "
                f"{len(positional)} without a name: write {cls.__name__}({names}), or "
                "fewer of these fields"
            )
        init(self, **fields)

    made.__init__ = by_name  # type: ignore[assignment, method-assign]
    return made


class Example(NamedTuple):
    """One observation."""

    x: Array  # [*event]
    # The conditioning variable of a conditional model; the position in the training
    # data where a prior made of these data leaves out the example's component.
    y: Array | None = None


class Batch(NamedTuple):
    """B observations and the indices that their random keys are folded from."""

    example: Example  # every leaf [B, ...]
    global_index: Int[Array, " B"]  # position in the global batch, whatever the devices


class Auxiliary(NamedTuple):
    """The `Params.auxiliary` of a training whose regularizers have parameters.

    The fields are the parameters of the estimator and of each regularizer, in order.
    """

    estimator: PyTree
    regularizers: tuple[PyTree, ...]


class Params(NamedTuple):
    """All trainable parameters; the fields are the groups that reports name."""

    encoder: PyTree
    decoder: PyTree
    prior: PyTree
    auxiliary: PyTree = ()  # learned baselines, control variates, discriminators


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
    # The reason for refusing a prior when the posterior is so restricted, or None.
    needs: "Callable[[Prior], str | None]"


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
    # The coordinates are independent, and the first axis of parameters and events.
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

    @property
    def law(self) -> str:
        """The name of the unrestricted family."""
        return self.name if self.restriction is None else self.restriction.law


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


Encode = Callable[[Params, Example], DistParams]


@record
class Labels:
    """The integers y that a model or a prior needs beside x; by default none."""

    num_classes: int | None = None  # y is a class from 0 to num_classes - 1
    unknown: bool = False  # y is -1 where the class is not known
    # y is the example's position in the training data; p(z) leaves out the component
    # made of this example.
    positions: bool = False


@record
class Prior:
    """p(z) or p(z | y): the family and the computation of its parameters.

    `apply` takes the model's `encode`, which some priors use.
    """

    name: str  # in messages and reports
    family: Family  # the family of the latents
    init: Callable[[Key], PyTree]  # becomes Params.prior
    # The family's parameters at y.
    apply: Callable[[Encode, Params, Array | None], DistParams]
    # The regularizers that train the prior besides the bound.
    regularizers: "tuple[Regularizer, ...]" = ()
    labels: Labels = Labels()  # the labels that the prior needs


@record
class Averages:
    """A group of parameters that are averages over batches, without a gradient.

    Training carries the group in `LossState.averages`, and not in the parameters that
    an optimizer steps, as the codebook of a `vq_vae` with codebook=ema.
    """

    group: str  # a field of `Params`
    # Maps all parameters before a batch to the group after the batch: a mean over the
    # examples, so that the average over parts of a batch is that of the whole batch.
    update: Callable[[Params, Batch], PyTree]


@record
class Extras:
    """Optional parts of a model besides its densities; each is read in one place."""

    regularizers: "tuple[Regularizer, ...]" = ()  # terms that the loss adds
    # Maps the initial parameters and all observations (leaves [N, ...], as the model
    # sees them) to the parameters at the start of training, by a clustering of the
    # codes, say. `Objective.start` calls this function.
    start: Callable[[Params, Example, Key], Params] | None = None
    averages: Averages | None = None  # the group of parameters that are averages
    exact_elbo: Callable[[Params, Array], Scalar] | None = None  # at x, in closed form


@record
class Model:
    """A latent-variable model and its inference network, one example at a time."""

    name: str  # in messages and reports
    init: Callable[[Key], Params]  # the initial parameters
    encode: Encode  # q(z | x, y)
    decode: Callable[[Params, Event, Array | None], DistParams]  # p(x | z, y)
    prior: Callable[[Params, Array | None], DistParams]  # p(z | y)
    posterior: Family  # the family of the parameters that `encode` returns
    latent_prior: Family  # the family of the parameters that `prior` returns
    likelihood: Family  # the family of the parameters that `decode` returns
    # The shapes of x and z, for networks of estimators and regularizers, and to count
    # the outcomes of z before tracing.
    data_shape: tuple[int, ...] | None = None
    latent_shape: Event | None = None  # leaves are `jax.ShapeDtypeStruct`
    labels: Labels = Labels()  # the labels that the model needs
    extras: Extras = Extras()  # optional parts


class LogTerms(NamedTuple):
    """The three log-densities of an importance weight, for K samples."""

    log_px_z: Float[Array, " K"]
    log_pz: Float[Array, " K"]
    log_qz: Float[Array, " K"]


def plain(terms: LogTerms) -> Float[Array, " K"]:
    """The importance log-weight: log p(x|z) + log p(z) - log q(z|x)."""
    return terms.log_px_z + terms.log_pz - terms.log_qz


class LogMean(NamedTuple):
    """The term `coefficient / power * E log mean_n w^power`; `size` is n."""

    coefficient: float
    size: int
    power: float = 1.0


@record
class Bound:
    """A scalar function F of the K log-weights, less a closed-form penalty if any.

    `expectation` lists the log-means whose sum is E F, for a K at which E F is such a
    sum: `vaejax.exact` then computes E F at any K, and F is linear in the log-weights
    where each log-mean has a single weight. With `inference`, that bound trains the
    posterior and this bound trains the model. A bound that sums `width * E log_w` under
    the distributions `q w^beta` lists the pairs (width, beta) in `path`.

    `relation` compares E F, less the penalty, with log p(x), for every model: E F is at
    most log p(x) at every K ("lower"), at least log p(x) as K grows ("upper"), or has
    a bias that falls faster than 1 / K ("debiased"). A bound without a relation is not
    compared with log p(x).
    """

    name: str  # in messages and reports
    aggregate: Callable[[Float[Array, " K"]], Scalar]  # F
    log_weight: Callable[[LogTerms], Float[Array, " K"]] = plain  # the argument of F
    # The closed-form part, which is subtracted from F.
    penalty: Callable[[Model, Params, DistParams, Example], Scalar] | None = None
    separable: bool = False  # F = mean_k f(log_w_k)
    # The diagonal of the Hessian of F; None computes it by autodiff.
    curvature: Callable[[Float[Array, " K"]], Float[Array, " K"]] | None = None
    # The log-means whose sum is E F, or None for a K at which E F is no such sum.
    expectation: Callable[[int], list[LogMean] | None] = lambda num_samples: None
    # The relation of E F, less the penalty, to log p(x).
    relation: Literal["lower", "upper", "debiased", "none"] = "none"
    minimised: bool = False  # training minimises this bound, and maximises others
    inference: "Bound | None" = None  # the bound that trains the posterior, if another
    path: tuple[tuple[float, float], ...] | None = None  # (width, beta), ...
    # The reason for refusing a model or a K, or None.
    needs: Callable[[Model, int], str | None] = lambda model, num_samples: None

    def is_linear(self, num_samples: int) -> bool:
        """True if F is linear in its `num_samples` log-weights, as in the ELBO."""
        parts = self.expectation(num_samples)
        return parts is not None and all(
            part.size == 1 for part in parts if part.coefficient != 0
        )


@record
class Problem:
    """The task of an estimator: the gradient of a model's K-sample bound."""

    model: Model  # the model to train
    bound: Bound  # the bound to differentiate
    num_samples: int  # K


class Verdict(NamedTuple):
    """The validity of an estimator for a problem, with the reason."""

    status: Literal["unbiased", "biased", "refused"]
    reason: str


# A function of the log-densities of K samples. A `Bound` with an `expectation` is
# integrated at any K.
Integrand = Callable[[LogTerms], Scalar] | Bound


class Expectation(NamedTuple):
    """The exact expectation E f over q(z|x), with either half of its gradient.

    `through_densities` differentiates the densities at stopped samples;
    `through_samples` differentiates the samples at stopped densities.
    """

    through_densities: Callable[[Integrand], Scalar]
    through_samples: Callable[[Integrand], Scalar]


@record
class Estimator:
    """A gradient estimator: a surrogate whose gradient estimates that of the bound."""

    name: str  # in messages and reports
    # A scalar for one example: the value is the bound, the gradient is the estimate.
    surrogate: Callable[[Problem, Params, EstState, Key, Example], tuple[Scalar, Stats]]
    check: Callable[[Problem], Verdict]  # static: reads the records, traces nothing
    # The estimator's parameters, which become `Params.auxiliary`, and its state.
    init: Callable[[Problem, Key], tuple[PyTree, EstState]] = lambda *_: ((), ())
    # Maps the state and the batch mean of the stats to the next state.
    update: Callable[[Problem, EstState, Stats], EstState] = lambda _, state, __: state
    # A scalar whose gradient is the expected estimate, where this is not the gradient
    # of the expected bound.
    target: Callable[[Problem, Params, Example, Expectation], Scalar] | None = None
    # The estimator takes log q only at samples of the posterior, and stops no part.
    own_samples: bool = False


@record
class KLWeight:
    """The weight beta of the KL divergence in a bound, which changes in training."""

    name: str  # in messages and reports
    weight: Callable[[PyTree], Scalar]  # beta, from the state
    init: Callable[[], PyTree] = lambda: ()  # the state at the start
    # Maps the state and the metrics of a batch to the next state.
    update: Callable[[PyTree, Stats], PyTree] = lambda state, metrics: state
    # A remark at the end of training, from the mean metrics of the last epoch, or None.
    remark: Callable[[Mapping[str, float]], str | None] = lambda metrics: None


@record
class Regularizer:
    """A batch-level term added to the loss."""

    name: str  # in messages and reports
    penalty: Callable[[Model, Params, Key, Batch], Scalar]  # the term
    needs: Callable[[Model], str | None] = lambda model: None  # reason for a refusal
    beside_elbo: bool = False  # the term subtracts the KL divergence of the bound
    compares: bool = True  # the term compares examples: batches must stay whole
    # The regularizer's parameters (of a discriminator), kept in `Params.auxiliary`. The
    # optimizer descends one loss: the terms of an adversary and of the model each stop
    # the gradient to the parameters of the other.
    init: Callable[[Model, Key], PyTree] | None = None
    # Figures to log beside the term, from the same arguments.
    report: Callable[[Model, Params, Key, Batch], Stats] = lambda *_: {}


class LossState(NamedTuple):
    """The state that a loss takes and returns beside the parameters at every step.

    The objectives of `make_objective` have this state, with empty fields where there is
    nothing to carry. An objective written by hand may have any other state.
    """

    estimator: EstState = ()
    kl_weight: PyTree = ()
    # The groups of parameters that are averages, by their names: see `Averages`.
    averages: dict[str, PyTree] = {}  # noqa: RUF012 (a pytree, and never changed)


@record
class DataRules:
    """The requirements of an objective on its data and batches."""

    # Returns the data as the loss takes them, or refuses: `check_data` of the model.
    check: Callable[[Example], Example] = lambda examples: examples
    positions: bool = False  # y is the position of a training example, see `Labels`
    whole_batch: bool = False  # the loss compares examples: batches must stay whole


@record
class Objective:
    """The interface of anything trainable to a trainer and a benchmark."""

    init: Callable[[Key], tuple[Params, PyTree]]  # the parameters and the state
    # loss(params, state, key, batch) is the mean over the batch, to minimise, with the
    # next state and the metrics. The loss is traced and sees no values: the caller
    # checks the data by `data.check` first.
    loss: Callable[[Params, PyTree, Key, Batch], tuple[Scalar, tuple[PyTree, Stats]]]
    # start(params, state, examples, key) returns the parameters and the state at the
    # start of training, from those of `init` and all examples, leaves [N, ...] as the
    # model sees them.
    start: Callable[[Params, PyTree, Example, Key], tuple[Params, PyTree]] | None = None
    data: DataRules = DataRules()  # the requirements on the data


def fold_examples(key: Key, index: Int[Array, " B"]) -> Keys:
    """One key per example, [B], folded from its index: the same on any device count.

    `key` is consumed.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
