"""The types of vaejax: every other file is a value of one of these, or a function.

A *model* bundles pure, per-example functions with the distribution *families* that
their outputs parameterise. A *bound* is a scalar function of K importance
log-weights. An *estimator* turns (model, bound, K) into a surrogate whose value is
the bound and whose gradient is the estimate. An *objective* is what the trainer sees.

Records hold functions: static, hashable, never a pytree. Arrays live in NamedTuples.
Nothing is both.
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
EstState = PyTree  # what an estimator carries between steps (a moving average, say)
Stats = dict[str, Scalar]  # what an estimator reports about one example

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
                f"{cls.__name__} takes its fields by name, and {len(positional)} came "
                f"without one: write {cls.__name__}({names}), or fewer of them"
            )
        init(self, **fields)

    made.__init__ = by_name  # type: ignore[assignment, method-assign]
    return made


class Example(NamedTuple):
    """One observation."""

    x: Array  # [*event]
    # The conditioning variable of a conditional model; the position in the training
    # data where a prior made of them leaves the example's own part out.
    y: Array | None = None


class Batch(NamedTuple):
    """B observations and the numbers that their random keys are folded from."""

    example: Example  # every leaf [B, ...]
    global_index: Int[Array, " B"]  # position in the global batch, whatever the devices


class Auxiliary(NamedTuple):
    """`Params.auxiliary` where regularizers learn beside the estimator.

    Each finds its own there: the estimator, and the regularizers in their order.
    """

    estimator: PyTree
    regularizers: tuple[PyTree, ...]


class Params(NamedTuple):
    """Everything trainable; the fields are the parameter groups of every report."""

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

    `soft` tends to `hard` as the temperature falls to 0; all but the events themselves
    are differentiable in the parameters.
    """

    noise: Callable[[Key, DistParams], Array]  # u, independent of the parameters
    soft: Callable[[DistParams, Array, Scalar | float], Event]  # at a temperature > 0
    hard: Callable[[DistParams, Array], Event]  # equal in law to the family's `sample`
    # What `soft` would give, had `hard` given this event, from fresh noise v.
    conditional: Callable[[DistParams, Array, Event, Scalar | float], Event]
    # The relaxed event given, with the derivative that the family's mean would have in
    # its parameters where it equals this event. So `soft`, a mean at perturbed
    # parameters, has the derivative of `as_mean(lam, soft) / temperature`.
    as_mean: Callable[[DistParams, Event], Event]


@record
class Strata:
    """The parts of a mixture, sum_c weight_c q_c(z), to be sampled one by one."""

    component: "Family"  # of every q_c
    # From the mixture's parameters log weight_c, [C], normalised, and the components'
    # parameters, every leaf [C, ...].
    split: Callable[[DistParams], tuple[Float[Array, " C"], DistParams]]


@record
class Conditionals:
    """The factors of a chain of layers, each a distribution given a layer beside it."""

    layer: "Family"  # of every factor, factorised
    # From the chain's parameters and an event, those of z_1 to z_L given its rest.
    split: Callable[[DistParams, Event], tuple[DistParams, ...]]


# fmt: off
Kind = Literal[
    "reals", "positive", "interval", "simplex", "sphere",
    "bits", "one_hot", "counts", "levels",
]
# fmt: on


class Space(NamedTuple):
    """Where outcomes lie.

    A density over one kind of space is none over another, but for the positive numbers
    and the intervals among the reals.
    """

    kind: Kind = "reals"  # of one coordinate, or of the event where they are joined
    levels: int | None = None  # of "levels": i / (levels - 1) for i < levels
    low: float = 0.0  # of "interval": its lower end
    high: float = 1.0  # of "interval": its upper end
    open: bool = False  # of "interval": its ends are no outcomes


@record
class Head:
    """How a network parameterises a family.

    The network puts out some real numbers for every coordinate of the event, an array
    [outputs_per_coordinate, *event].
    """

    outputs_per_coordinate: int  # how many numbers
    # The parameters, from these outputs, and from the family's own weights if any.
    from_outputs: Callable[..., DistParams]
    to_outputs: Callable[[Array], Array]  # outputs at which the mean is the given one
    # What is learned of the family besides a network's outputs, such as the layers of a
    # flow: `from_outputs` takes it second, and it is part of the parameters.
    weights: Callable[[Key], PyTree] | None = None

    def read(self, outputs: Array, weights: PyTree) -> DistParams:
        """The parameters, from a network's outputs and the family's own weights."""
        if self.weights is None:
            return self.from_outputs(outputs)
        return self.from_outputs(outputs, weights)


@record
class Restriction:
    """A family is a part of another one: not all of its parameters are allowed."""

    law: str  # the name of the whole family, whose divergences hold for the part
    # The nearest parameters of the part, after a step in the parameters themselves.
    project: Callable[[DistParams], DistParams]
    # The reason for refusing a prior to the part as a posterior, if there is one.
    needs: "Callable[[Prior], str | None]"


@record
class Outcomes:
    """The outcomes of a discrete event that has finitely many."""

    support: Callable[[DistParams], Event]  # every outcome, [S, *event]
    count: Callable[[Event], int]  # S, from an event's shape


@record
class OwnSamples:
    """What sets a family's own samples apart from other events."""

    # A draw with its log-density, where that costs less than `log_prob` of the draw.
    sample_and_log_prob: Callable[[Key, DistParams], tuple[Event, Scalar]] | None = None
    # Why `log_prob` of an event is too costly for training, if it is: `pathwise` and
    # evaluation do with `sample_and_log_prob`, all other uses are refused.
    costly_log_prob: str | None = None


@record
class Couplings:
    """Random variables that share noise: each serves one kind of gradient estimator."""

    # A draw of the signed measures that differentiate the distribution.
    measure: Callable[[Key, DistParams], Measure] | None = None
    # Two events, each distributed as `sample`, that share their noise as u and 1 - u.
    antithetic: Callable[[Key, DistParams], tuple[Event, Event]] | None = None
    # The event itself, as a function of the parameters at the noise that it came from:
    # T(T^-1(z; stopped params); params) for a transport T of the noise.
    retrace: Callable[[DistParams, Event], Event] | None = None
    relax: Relaxation | None = None  # a discrete event and its continuous stand-in


@record
class Family:
    """A distribution over one event, pure in (key, dist_params, event).

    A capability is a field that is not None, here or in `own_samples` and `couplings`;
    what needs it checks for it by name.
    """

    name: str  # in messages and reports
    sample: Callable[[Key, DistParams], Event]  # one event
    log_prob: Callable[[DistParams, Event], Scalar]  # summed over the event
    mean: Callable[[DistParams], Event]  # the expectation, or what stands for it
    head: Head | None = None  # how a network parameterises it
    space: Space = Space()  # where its outcomes lie
    # Its coordinates are independent, and the first axis of all that describes them.
    factorised: bool = False
    # How samples are differentiated in the parameters: as the function of noise that
    # `sample` computes, or by the derivative of the distribution function.
    reparam: Literal["explicit", "implicit"] | None = None
    kl: Callable[[DistParams, DistParams], Scalar] | None = None  # KL(first || second)
    # Events [S, *event] and weights [S] whose weighted sum of f tends to E f as the
    # number of nodes per coordinate grows.
    quadrature: Callable[[DistParams, int], tuple[Event, Array]] | None = None
    outcomes: Outcomes | None = None  # what sums over all events need
    exact_mean: bool = True  # `mean` is the expectation, not a point that stands for it
    normalized: bool = True  # exp(log_prob) integrates, or sums, to one
    # False for an outcome that is a function of x, or of x and noise, whose `log_prob`
    # is 0: what autoencoders encode to. Only bounds that do without log q take it.
    has_density: bool = True
    own_samples: OwnSamples = OwnSamples()  # what its density costs
    couplings: Couplings = Couplings()  # what particular gradient estimators need
    strata: Strata | None = None  # what stratified sampling of a mixture needs
    conditionals: Conditionals | None = None  # what tells a chain's layers apart
    restriction: Restriction | None = None  # where it is a part of another family

    @property
    def law(self) -> str:
        """The name of the distribution, whichever of its parameters are allowed."""
        return self.name if self.restriction is None else self.restriction.law


def head_of(family: Family) -> Head:
    """The family's head, for what reads the parameters off a network's outputs.

    Raises:
        IncompatibleError: a family without a head.
    """
    if family.head is None:
        raise IncompatibleError(
            f"{family.name} has no head, by which a network's outputs become its "
            "parameters: use a family that has one, such as diagonal_normal, or write "
            "the Model's own functions, which return the parameters"
        )
    return family.head


Encode = Callable[[Params, Example], DistParams]


@record
class Labels:
    """The integers y that a model or a prior needs beside x; by default none."""

    num_classes: int | None = None  # y is a class from 0 to this less 1
    unknown: bool = False  # or -1, where the class is not known
    # y is the example's position in the training data, whose own part p(z) leaves out.
    positions: bool = False


@record
class Prior:
    """p(z) or p(z | y): its family and how its parameters come about.

    `apply` is given the model's `encode`, which some priors go through.
    """

    name: str  # in messages and reports
    family: Family  # of the latents
    init: Callable[[Key], PyTree]  # becomes Params.prior
    # The family's parameters at y.
    apply: Callable[[Encode, Params, Array | None], DistParams]
    # What trains it besides the bound.
    regularizers: "tuple[Regularizer, ...]" = ()
    labels: Labels = Labels()  # that it needs


@record
class Averages:
    """A group of parameters that no gradient trains: they are averages over batches.

    Training carries the group in `LossState.averages`, and not in the parameters that
    an optimizer steps. The codebook of a `vq_vae` with codebook=ema is one.
    """

    group: str  # a field of `Params`
    # The group after a batch, from all parameters before it: a mean over the examples,
    # so that the parts of a batch, averaged, give what the whole batch gives.
    update: Callable[[Params, Batch], PyTree]


@record
class Extras:
    """What few models have besides their densities; each field is read in one place."""

    regularizers: "tuple[Regularizer, ...]" = ()  # that are part of the training
    # The parameters that training starts from, made of the initial ones and of all
    # observations (leaves [N, ...], as the model sees them): by a clustering of the
    # codes, say. `Objective.start` is made of it.
    start: Callable[[Params, Example, Key], Params] | None = None
    averages: Averages | None = None  # the group that batches average, if any
    exact_elbo: Callable[[Params, Array], Scalar] | None = None  # of x, in closed form


@record
class Model:
    """A latent-variable model and its inference network, one example at a time."""

    name: str  # in messages and reports
    init: Callable[[Key], Params]  # the initial parameters
    encode: Encode  # q(z | x, y)
    decode: Callable[[Params, Event, Array | None], DistParams]  # p(x | z, y)
    prior: Callable[[Params, Array | None], DistParams]  # p(z | y)
    posterior: Family  # of what `encode` returns
    latent_prior: Family  # of what `prior` returns
    likelihood: Family  # of what `decode` returns
    # For networks that others put on x and z, and to count the outcomes of z before
    # anything is traced.
    data_shape: tuple[int, ...] | None = None
    latent_shape: Event | None = None  # of `jax.ShapeDtypeStruct`
    labels: Labels = Labels()  # that it needs
    extras: Extras = Extras()  # what few models have


class LogTerms(NamedTuple):
    """The three log-densities of an importance weight, for K samples."""

    log_px_z: Float[Array, " K"]
    log_pz: Float[Array, " K"]
    log_qz: Float[Array, " K"]


def plain(terms: LogTerms) -> Float[Array, " K"]:
    """The importance log-weight: log p(x|z) + log p(z) - log q(z|x)."""
    return terms.log_px_z + terms.log_pz - terms.log_qz


class LogMean(NamedTuple):
    """`coefficient / power * E log mean_n w^power`, over `size` = n weights."""

    coefficient: float
    size: int
    power: float = 1.0


@record
class Bound:
    """A scalar function F of the K log-weights, less a closed-form penalty if any.

    `expectation` says of which log-means E F is the sum, for a K at which it is one: it
    opens an exact expectation at any K (see `vaejax.exact`), and F is linear in the
    log-weights where each is of a single weight. With `inference` the posterior is
    trained by that bound, the model by this one. A bound that sums `width * E log_w`
    under the distributions `q w^beta` has them in its `path`.

    `relation` is what E F, less the penalty, has to do with log p(x), for every model:
    it is at most log p(x) at every K ("lower"), at least that as K grows ("upper"), or
    its bias falls faster than 1 / K ("debiased"). A bound that states none is not
    compared with log p(x).
    """

    name: str  # in messages and reports
    aggregate: Callable[[Float[Array, " K"]], Scalar]  # F
    log_weight: Callable[[LogTerms], Float[Array, " K"]] = plain  # what F is given
    # The closed-form part, which is taken off F.
    penalty: Callable[[Model, Params, DistParams, Example], Scalar] | None = None
    separable: bool = False  # F = mean_k f(log_w_k)
    # The diagonal of the Hessian of F, by autodiff unless given.
    curvature: Callable[[Float[Array, " K"]], Float[Array, " K"]] | None = None
    # The log-means whose sum is E F, for a K at which there are any.
    expectation: Callable[[int], list[LogMean] | None] = lambda num_samples: None
    # To log p(x), of E F less the penalty.
    relation: Literal["lower", "upper", "debiased", "none"] = "none"
    minimised: bool = False  # training descends it; other bounds are maximised
    inference: "Bound | None" = None  # the bound that trains the posterior, if another
    path: tuple[tuple[float, float], ...] | None = None  # (width, beta), ...
    # The reason for refusing a model or a K, if there is one.
    needs: Callable[[Model, int], str | None] = lambda model, num_samples: None

    def is_linear(self, num_samples: int) -> bool:
        """Whether F of so many log-weights is linear in them, as in the ELBO."""
        parts = self.expectation(num_samples)
        return parts is not None and all(
            part.size == 1 for part in parts if part.coefficient != 0
        )


@record
class Problem:
    """What an estimator is asked for: the gradient of a model's K-sample bound."""

    model: Model  # whose parameters are trained
    bound: Bound  # whose gradient is estimated
    num_samples: int  # K


class Verdict(NamedTuple):
    """Whether an estimator is valid for a problem, and why."""

    status: Literal["unbiased", "biased", "refused"]
    reason: str


# A function of the log-densities of K samples. One that is a bound is integrated as a
# bound: at any K, where it says of which log-means it is made.
Integrand = Callable[[LogTerms], Scalar] | Bound


class Expectation(NamedTuple):
    """The exact expectation E f over q(z|x), with either half of its gradient.

    Through the densities it sees how these depend on the parameters at samples that are
    stopped, through the samples how they do at densities that are stopped.
    """

    through_densities: Callable[[Integrand], Scalar]
    through_samples: Callable[[Integrand], Scalar]


@record
class Estimator:
    """A gradient estimator: how a scalar's gradient stands in for the bound's."""

    name: str  # in messages and reports
    # A scalar for one example, whose value is the bound and whose gradient is the
    # estimate.
    surrogate: Callable[[Problem, Params, EstState, Key, Example], tuple[Scalar, Stats]]
    check: Callable[[Problem], Verdict]  # static: reads the records, traces nothing
    # The estimator's own parameters, which become `Params.auxiliary`, and its state.
    init: Callable[[Problem, Key], tuple[PyTree, EstState]] = lambda *_: ((), ())
    # The next state, after this one was used, by the batch mean of the stats.
    update: Callable[[Problem, EstState, Stats], EstState] = lambda _, state, __: state
    # A scalar with the gradient that the estimate has in expectation, where that is not
    # the expected bound's.
    target: Callable[[Problem, Params, Example, Expectation], Scalar] | None = None
    # It takes log q at the posterior's own samples alone, nothing of it stopped.
    own_samples: bool = False


@record
class KLWeight:
    """The weight beta of the KL divergence in a bound, as it moves in training."""

    name: str  # in messages and reports
    weight: Callable[[PyTree], Scalar]  # beta, from the state
    init: Callable[[], PyTree] = lambda: ()  # the state at the start
    # The next state, from the metrics of a batch.
    update: Callable[[PyTree, Stats], PyTree] = lambda state, metrics: state
    # What to know of it at the end, by the mean metrics of the last epoch, if anything.
    remark: Callable[[Mapping[str, float]], str | None] = lambda metrics: None


@record
class Regularizer:
    """A term added to the loss that needs the whole batch, by nature batch-level."""

    name: str  # in messages and reports
    penalty: Callable[[Model, Params, Key, Batch], Scalar]  # the term
    needs: Callable[[Model], str | None] = lambda model: None  # reason for a refusal
    beside_elbo: bool = False  # it takes off a KL divergence that the bound holds once
    compares: bool = True  # it compares examples: a batch of them is not to be cut up
    # Its own parameters (a discriminator's), which it finds in `Params.auxiliary`. The
    # optimizer descends one loss: an adversary's part and the model's each stop what
    # the other is to train.
    init: Callable[[Model, Key], PyTree] | None = None
    # Figures to log beside it, of the same arguments.
    report: Callable[[Model, Params, Key, Batch], Stats] = lambda *_: {}


class LossState(NamedTuple):
    """What a loss is given and returns beside the parameters: it changes by the step.

    `make_objective` makes every objective's of these parts, empty where there is
    nothing to carry. An objective written by hand may carry any other.
    """

    estimator: EstState = ()
    kl_weight: PyTree = ()
    # The groups of parameters that are averages, by their names: see `Averages`.
    averages: dict[str, PyTree] = {}  # noqa: RUF012 (a pytree, and never changed)


@record
class DataRules:
    """What the data and the batches that an objective is trained on must be."""

    # The data as the loss can take them, or a refusal: `check_data` of the model.
    check: Callable[[Example], Example] = lambda examples: examples
    positions: bool = False  # y is the position of a training example, see `Labels`
    whole_batch: bool = False  # the loss compares examples: no batch is to be cut up


@record
class Objective:
    """What a trainer and a benchmark see: everything trainable ends as one of these."""

    init: Callable[[Key], tuple[Params, PyTree]]  # the parameters and the state
    # loss(params, state, key, batch) is the mean over the batch, to minimise, with the
    # next state and the metrics. It is traced and sees no values: the caller holds the
    # data against `data.check` first.
    loss: Callable[[Params, PyTree, Key, Batch], tuple[Scalar, tuple[PyTree, Stats]]]
    # start(params, state, examples, key) is where training starts, made of what `init`
    # gave and of all examples, leaves [N, ...] as the model sees them.
    start: Callable[[Params, PyTree, Example, Key], tuple[Params, PyTree]] | None = None
    data: DataRules = DataRules()  # what it can be trained on


def fold_examples(key: Key, index: Int[Array, " B"]) -> Keys:
    """One key per example, [B], folded from its number: the same on any device count.

    `key` is consumed.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
