"""The records of what is trained: bounds, estimators, KL weights and objectives.

A *bound* is a scalar function of K importance log-weights. An *estimator* turns (model,
bound, K) into a surrogate whose value is the bound and whose gradient is the estimate.
An *objective* is what the trainer sees.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from jaxtyping import Array, Float

from vaejax.core.model import Model
from vaejax.core.values import (
    Batch,
    DistParams,
    Example,
    Key,
    Params,
    PyTree,
    Scalar,
    Stats,
    record,
)

EstState = PyTree  # an estimator's state between steps (a moving average, say)


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
