"""Training objectives made from (model, bound, estimator, K)."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Auxiliary,
    Batch,
    Bound,
    DataRules,
    DistParams,
    Estimator,
    EstState,
    Example,
    Family,
    IncompatibleError,
    Key,
    KLWeight,
    LogTerms,
    LossState,
    Model,
    Objective,
    Params,
    Problem,
    Regularizer,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
    check_data,
    fold_examples,
)
from vaejax.core.doors import expect
from vaejax.terms import COMMON_STATS, with_value


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
    problem = Problem(model=model, bound=bound, num_samples=num_samples)
    any_weight = problem if kl_weight is None else weigh_kl(problem, 0.5)
    verdict = check(any_weight, estimator)
    if verdict.status == "refused":
        raise IncompatibleError(
            f"{estimator.name} refuses {bound.name} on {model.name}: {verdict.reason}"
        )
    if verdict.status == "biased" and not allow_bias:
        raise IncompatibleError(
            f"{estimator.name} is biased for {bound.name} with K = {num_samples}: "
            f"{verdict.reason}, or accept the bias with allow_bias"
        )

    own_weight = weight_of_kl(bound)
    if kl_weight is not None and own_weight == 0:
        raise IncompatibleError(
            f"a KL weight multiplies the KL divergence, and {bound.name} has none: "
            "leave the weight out, or use a bound such as elbo"
        )
    regularizers = (*model.extras.regularizers, *regularizers)
    holds_kl_once = bound.is_linear(num_samples) and own_weight == 1 and not kl_weight
    names = [one.name for one in regularizers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise IncompatibleError(
            f"{' and '.join(twice)} would be added more than once to {model.name}'s "
            "loss but reported under one name: use each regularizer once"
        )
    for regularizer in regularizers:
        if reason := regularizer.needs(model):
            raise IncompatibleError(
                f"{regularizer.name} refuses {model.name}: {reason}"
            )
        if regularizer.beside_elbo and not holds_kl_once:
            raise IncompatibleError(
                f"{regularizer.name} subtracts the KL divergence that the ELBO holds "
                f"once, and {bound.name} with K = {num_samples} and this KL weight "
                "does not hold it once: use the bound elbo, without a KL weight"
            )

    regularizers_learn = any(one.init is not None for one in regularizers)

    averages = [one for one in [model.extras.averages] if one is not None]

    def init(key: Key) -> tuple[Params, LossState]:
        model_key, estimator_key = jax.random.split(key)
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


def weigh_kl(problem: Problem, beta: Scalar | float) -> Problem:
    """Multiply the weight of the KL divergence in the problem's bound by beta.

    In the log-weights, log p(z) and log q(z|x) are multiplied by beta; so is a KL in
    closed form. The new bound states no relation to log p(x).
    """

    def weighed(bound: Bound) -> Bound:
        def log_weight(terms: LogTerms) -> Float[Array, " K"]:
            return bound.log_weight(
                LogTerms(terms.log_px_z, beta * terms.log_pz, beta * terms.log_qz)
            )

        def penalty(
            model: Model, params: Params, dist_params: DistParams, example: Example
        ) -> Scalar:
            assert bound.penalty is not None
            return beta * bound.penalty(model, params, dist_params, example)

        return dataclasses.replace(
            bound,
            log_weight=log_weight,
            relation="none",
            penalty=None if bound.penalty is None else penalty,
            inference=None if bound.inference is None else weighed(bound.inference),
        )

    return dataclasses.replace(problem, bound=weighed(problem.bound))


def weight_of_kl(bound: Bound) -> float:
    """The weight beta of the KL divergence in a bound, 1 unless it is tempered."""
    if bound.penalty is not None:
        return 1.0
    zero, one = jnp.zeros(1), jnp.ones(1)
    return float(bound.log_weight(LogTerms(zero, one, zero))[0])


def check(problem: Problem, estimator: Estimator) -> Verdict:
    """The estimator's verdict on the problem; an invalid problem is refused first."""
    num_samples = problem.num_samples
    # A bool is an int in Python, but no number of samples.
    if type(num_samples) is not int or num_samples < 1:
        return Verdict(
            "refused",
            f"num_samples is {num_samples!r}, but it counts importance samples: use an "
            "integer of at least 1",
        )
    if reason := problem.bound.needs(problem.model, num_samples):
        return Verdict("refused", reason)
    posterior = problem.model.posterior
    if not estimator.own_samples and (reason := posterior.own_samples.costly_log_prob):
        return Verdict("refused", reason)
    if problem.model.latent_prior.own_samples.costly_log_prob:
        return Verdict(
            "refused",
            "the prior is made of posteriors whose density of a given z is costly: use "
            "another prior or posterior, or pay_for_inverse=True",
        )
    if reason := _misplaced(posterior, problem.model.latent_prior):
        return Verdict("refused", reason)
    if not posterior.has_density and weight_of_kl(problem.bound) != 0:
        return Verdict(
            "refused",
            f"{problem.bound.name} takes log q(z|x), and a {posterior.name} has no "
            "density: use the bound reconstruction, or another posterior",
        )
    if problem.bound.inference is None:
        return estimator.check(problem)
    severity = ("unbiased", "biased", "refused")
    parts = map(estimator.check, split(problem))
    return max(parts, key=lambda verdict: severity.index(verdict.status))


def _misplaced(posterior: Family, prior: Family) -> str | None:
    """The reason why the two densities have no ratio, or None."""
    here, there = posterior.space.kind, prior.space.kind
    if here == there or (here in ("positive", "interval") and there == "reals"):
        return None
    return (
        f"latents of a {posterior.name} ({here}) have no density under a "
        f"{prior.name} prior ({there}): use a prior and a posterior over the "
        "same space, such as family_mlp's"
    )


def split(problem: Problem) -> tuple[Problem, Problem]:
    """Split a problem in two, for the model and for the posterior alone.

    The model's problem stops the path through `encode`, the posterior's the paths
    through `decode` and `prior`, for all parameters: a prior may use the encoder's.
    """
    model, bound = problem.model, problem.bound
    assert bound.inference is not None
    given_posterior = dataclasses.replace(
        model,
        encode=lambda params, example: model.encode(stop_gradient(params), example),
    )
    given_model = dataclasses.replace(
        model,
        decode=lambda params, z, y: model.decode(stop_gradient(params), z, y),
        prior=lambda params, y: model.prior(stop_gradient(params), y),
    )
    alone = dataclasses.replace(bound, inference=None)
    return (
        dataclasses.replace(problem, model=given_posterior, bound=alone),
        dataclasses.replace(problem, model=given_model, bound=bound.inference),
    )


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
        return estimator.surrogate(problem, params, state, key, example)
    of_model, of_posterior = split(problem)
    # The estimator's parameters serve the posterior, and are trained with it.
    frozen = params._replace(auxiliary=stop_gradient(params.auxiliary))
    first, reported = estimator.surrogate(of_model, frozen, state, key, example)
    second, own = estimator.surrogate(of_posterior, params, state, key, example)
    sign = 1 if of_model.bound.minimised == of_posterior.bound.minimised else -1
    # The estimator's state also serves the posterior: it averages the signal of the
    # baseline.
    stats = {name: own[name] for name in own.keys() - COMMON_STATS}
    stats |= {name: reported[name] for name in COMMON_STATS}
    return with_value(first + sign * second, first), stats


def compatibility_table(
    models: Iterable[Model],
    bounds: Iterable[Bound],
    estimators: Iterable[Estimator],
    num_samples: int = 2,
) -> str:
    """The verdict on every combination, as a Markdown table."""
    bounds = list(bounds)
    lines = [
        "| latents | estimator | " + " | ".join(bound.name for bound in bounds) + " |",
        "|---" * (len(bounds) + 2) + "|",
    ]
    estimators = list(estimators)
    for model in models:
        for estimator in estimators:
            cells = [
                check(
                    Problem(model=model, bound=bound, num_samples=num_samples),
                    estimator,
                ).status
                for bound in bounds
            ]
            row = [model.posterior.name, estimator.name, *cells]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)
