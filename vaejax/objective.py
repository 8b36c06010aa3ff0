"""Training objectives made from (model, bound, estimator, K)."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vaejax.compatibility import check_with_remedy
from vaejax.core import (
    Auxiliary,
    Batch,
    Bound,
    DataRules,
    Estimator,
    EstState,
    Example,
    IncompatibleError,
    Key,
    KLWeight,
    LossState,
    Model,
    Objective,
    Params,
    Problem,
    Regularizer,
    Scalar,
    Stats,
    VaejaxError,
    check_data,
    fold_examples,
)
from vaejax.core.build import answered
from vaejax.core.doors import expect, expect_all, expect_key, no_count
from vaejax.problems import split, weigh_kl, weight_of_kl
from vaejax.returns import check_value, surrogate_of
from vaejax.terms import COMMON_STATS, with_value


@answered
def make_objective(
    model: Model,
    bound: Bound,
    estimator: Estimator,
    *,
    num_samples: int,
    allow_bias: bool = False,
    regularizers: Sequence[Regularizer] = (),
    kl_weight: KLWeight | None = None,
) -> Objective:
    """The negative bound, mean over the batch, whose gradient is the estimator's.

    loss(params, state, key, batch) = mean_b -surrogate(example_b) + sum_r penalty_r

    A bound that is minimised keeps its sign. The metrics include the bound, its KL
    weight `beta` and the `elbo`, which has no such weight; with a `kl_weight` and
    several samples also the bound at weight 1, `untempered_bound`.

    Args:
        model: encoder, decoder and prior, per example.
        bound: a scalar function of `num_samples` log-weights.
        estimator: how to differentiate it.
        num_samples: K, a positive integer.
        allow_bias: accept a pair whose gradient is known to be biased.
        regularizers: batch-level terms, added to the loss and the model's own.
        kl_weight: weighs the KL divergence in the bound, besides what that does itself.

    Returns:
        An `Objective`: `loss` is a scalar whose value is minus the bound (plus the
        penalties) and whose gradient is minus the estimate (plus theirs). Its state is
        a `LossState`. Where some of the model's parameters are moving averages, as in a
        `vq_vae` with codebook=ema, the state alone holds them, and `whole_params` gives
        the parameters to evaluate.

    Raises:
        IncompatibleError: naming the requirement and the remedy, before any tracing.
        VaejaxError: names, functions or numbers in the place of objects; a bound whose
            value is no scalar. The loss refuses such an estimator when it is traced.

    Examples:
        >>> objective = make_objective(gaussian_toy(), iwae(), dreg(), num_samples=4)
        >>> params, state = objective.init(jax.random.key(0))
        >>> batch = Batch(Example(jnp.zeros((2, 20))), jnp.arange(2))
        >>> key = jax.random.key(1)
        >>> loss, (state, metrics) = objective.loss(params, state, key, batch)
        >>> bool(loss == -metrics["bound"])
        True
        >>> make_objective(gaussian_toy(), iwae(), stl(), num_samples=4)
        Traceback (most recent call last):
            ...
        vaejax.core.errors.IncompatibleError: stl is biased for iwae with K = 4: ...
    """
    expect(Model, "model", model)
    expect(Bound, "bound", bound)
    expect(Estimator, "estimator", estimator)
    regularizers = expect_all(Regularizer, "regularizers", regularizers, least=0)
    if kl_weight is not None:
        expect(KLWeight, "kl_weight", kl_weight)
    if reason := no_count("num_samples", num_samples):
        raise IncompatibleError(reason)
    num_samples = int(num_samples)
    problem = Problem(model=model, bound=bound, num_samples=num_samples)
    any_weight = problem if kl_weight is None else weigh_kl(problem, 0.5)
    verdict = check_with_remedy(any_weight, estimator)
    if verdict.status == "refused":
        raise IncompatibleError(
            f"{estimator.name} refuses {bound.name} on {model.name}: {verdict.reason}"
        )
    if verdict.status == "biased" and not allow_bias:
        raise IncompatibleError(
            f"{estimator.name} is biased for {bound.name} with K = {num_samples}: "
            f"{verdict.reason}, or accept the bias with allow_bias"
        )

    for part in (bound, bound.inference):
        if part is not None:
            check_value(part, num_samples)
    own_weight = weight_of_kl(bound)
    if kl_weight is not None and own_weight == 0:
        raise IncompatibleError(
            f"a KL weight multiplies the KL divergence, and {bound.name} has none: "
            "leave the weight out, or use a bound such as elbo"
        )
    regularizers = (*model.extras.regularizers, *regularizers)
    holds_kl_once = bound.is_linear(num_samples) and own_weight == 1 and not kl_weight
    _check_regularizers(problem, regularizers, holds_kl_once)
    regularizers_learn = any(one.init is not None for one in regularizers)

    averages = [one for one in [model.extras.averages] if one is not None]

    def init(key: Key) -> tuple[Params, LossState]:
        model_key, estimator_key = jax.random.split(expect_key(key))
        if regularizers_learn:
            estimator_key, own_key = jax.random.split(estimator_key)
        auxiliary, state = estimator.init(problem, estimator_key)
        if regularizers_learn:
            keys = jax.random.split(own_key, len(regularizers))
            own = [
                () if one.init is None else one.init(model, own_key)
                for one, own_key in zip(regularizers, keys, strict=True)
            ]
            auxiliary = Auxiliary(auxiliary, tuple(own))
        params = model.init(model_key)._replace(auxiliary=auxiliary)
        return split_params(
            params,
            LossState(
                estimator=state,
                kl_weight=kl_weight.init() if kl_weight else (),
                averages={one.group: () for one in averages},
            ),
        )

    def loss(
        params: Params, state: LossState, key: Key, batch: Batch
    ) -> tuple[Scalar, tuple[LossState, Stats]]:
        if not isinstance(state, LossState):
            raise VaejaxError(
                f"the loss takes the LossState that `init` gives, and was given a "
                f"{type(state).__name__}: use `params, state = objective.init(key)`"
            )
        whole, asked = whole_params(params, state), problem
        if kl_weight is not None:
            beta = kl_weight.weight(state.kl_weight)
            asked = weigh_kl(problem, beta)
        total, metrics = batch_loss(asked, whole, state.estimator, key, batch)
        following = LossState(
            estimator=estimator.update(asked, state.estimator, metrics),
            kl_weight=kl_weight.update(state.kl_weight, metrics) if kl_weight else (),
            averages={one.group: one.update(whole, batch) for one in averages},
        )
        if kl_weight is not None:
            metrics["beta"] *= beta
            # A linear bound at weight 1 is the ELBO, which is a metric already.
            if not bound.is_linear(num_samples):
                _, plain = batch_loss(problem, whole, state.estimator, key, batch)
                metrics["untempered_bound"] = plain["bound"]
        return total, (following, metrics)

    def batch_loss(
        problem: Problem, params: Params, state: EstState, key: Key, batch: Batch
    ) -> tuple[Scalar, Stats]:
        examples_key, batch_key = jax.random.split(key)
        keys = fold_examples(examples_key, batch.global_index)
        own = of_estimator(params)
        surrogates, stats = jax.vmap(
            lambda k, example: surrogate(problem, estimator, own, state, k, example)
        )(keys, batch.example)
        metrics = jax.tree.map(jnp.mean, stats)
        metrics["elbo"] = metrics["log_px_z"] - metrics["kl"]
        metrics["beta"] = jnp.asarray(own_weight, float)
        if not model.posterior.has_density:
            metrics = {name: metrics[name] for name in metrics.keys() - OF_DENSITIES}
        total = surrogates.mean() if bound.minimised else -surrogates.mean()
        for i, regularizer in enumerate(regularizers):
            own = params
            if isinstance(params.auxiliary, Auxiliary):
                own = params._replace(auxiliary=params.auxiliary.regularizers[i])
            given = model, own, jax.random.fold_in(batch_key, i), batch
            term = regularizer.penalty(*given)
            metrics |= {regularizer.name: term, **regularizer.report(*given)}
            total += term
        return total, metrics

    def start(
        params: Params, state: LossState, examples: Example, key: Key
    ) -> tuple[Params, LossState]:
        assert model.extras.start is not None
        begun = model.extras.start(whole_params(params, state), examples, key)
        return split_params(begun, state)

    return Objective(
        init=init,
        loss=loss,
        start=None if model.extras.start is None else start,
        data=DataRules(
            check=partial(check_data, model),
            positions=model.labels.positions,
            whole_batch=any(one.compares for one in regularizers),
        ),
    )


def _check_regularizers(
    problem: Problem, regularizers: Sequence[Regularizer], holds_kl_once: bool
) -> None:
    """Raise an `IncompatibleError` for a regularizer that does not go with the rest."""
    names = [one.name for one in regularizers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise IncompatibleError(
            f"{' and '.join(twice)} would be added more than once to "
            f"{problem.model.name}'s loss but reported under one name: use each "
            "regularizer once"
        )
    for regularizer in regularizers:
        if reason := regularizer.needs(problem.model):
            raise IncompatibleError(
                f"{regularizer.name} refuses {problem.model.name}: {reason}"
            )
        if regularizer.beside_elbo and not holds_kl_once:
            raise IncompatibleError(
                f"{regularizer.name} subtracts the KL divergence that the ELBO holds "
                f"once, and {problem.bound.name} with K = {problem.num_samples} and "
                "this KL weight does not hold it once: use the bound elbo, without a "
                "KL weight"
            )


def whole_params(params: Params, state: LossState) -> Params:
    """Return the parameters to evaluate: the trained ones, and the state's averages.

    Args:
        params: as `Objective.init` gives them, or an optimizer's next.
        state: that belongs to them.
    """
    return params._replace(**state.averages)


def split_params(params: Params, state: LossState) -> tuple[Params, LossState]:
    """Return the parameters to train, and the state with the groups that are averages.

    This function undoes `whole_params`. Among the parameters `()` replaces a group that
    is an average.
    """
    averages = {name: getattr(params, name) for name in state.averages}
    others = params._replace(**dict.fromkeys(averages, ()))
    return others, state._replace(averages=averages)


# The metrics that are undefined where the posterior has no density.
OF_DENSITIES = {"kl", "log_pz", "log_qz", "elbo", "beta"}


def of_estimator(params: Params) -> Params:
    """Return the parameters with only the estimator's among the auxiliary ones."""
    if isinstance(params.auxiliary, Auxiliary):
        return params._replace(auxiliary=params.auxiliary.estimator)
    return params


def surrogate(
    problem: Problem,
    estimator: Estimator,
    params: Params,
    state: EstState,
    key: Key,
    example: Example,
) -> tuple[Scalar, Stats]:
    """The estimator's surrogate, or the sum of two if the bound has an `inference`."""
    if problem.bound.inference is None:
        return surrogate_of(estimator, problem, params, state, key, example)
    of_model, of_posterior = split(problem)
    # The estimator's parameters serve the posterior, and are trained with it.
    frozen = params._replace(auxiliary=stop_gradient(params.auxiliary))
    first, reported = surrogate_of(estimator, of_model, frozen, state, key, example)
    second, own = surrogate_of(estimator, of_posterior, params, state, key, example)
    sign = 1 if of_model.bound.minimised == of_posterior.bound.minimised else -1
    # The estimator's state also serves the posterior: it averages the signal of the
    # baseline.
    stats = {name: own[name] for name in own.keys() - COMMON_STATS}
    stats |= {name: reported[name] for name in COMMON_STATS}
    return with_value(first + sign * second, first), stats
