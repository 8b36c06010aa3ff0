"""The records of a latent-variable model, its prior and its regularizers."""

from collections.abc import Callable

from jaxtyping import Array

from vaejax.core.family import Family
from vaejax.core.values import (
    Batch,
    DistParams,
    Event,
    Example,
    Key,
    Params,
    PyTree,
    Scalar,
    Stats,
    record,
)

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
    # The log-probabilities of the classes, or clusters, of x.
    class_log_probs: Callable[[Params, Array], Array] | None = None
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
