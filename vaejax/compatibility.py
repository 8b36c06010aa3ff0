"""The verdict on a combination of a model, a bound and an estimator, before tracing."""

import re
from collections.abc import Iterable
from functools import partial

from vaejax.core import Bound, Estimator, Family, Model, Problem, VaejaxError, Verdict
from vaejax.core.doors import no_count
from vaejax.estimators import ESTIMATORS
from vaejax.problems import split, weight_of_kl
from vaejax.returns import SEVERITY, check_verdict

# These have a low variance where they are unbiased, as two are under most bounds.
RECOMMENDED = ("pathwise", "dreg", "rloo", "vimco", "score_function")


def check(problem: Problem, estimator: Estimator) -> Verdict:
    """The estimator's verdict on the problem; an invalid problem is refused first.

    An estimator whose own check raises a `VaejaxError` refuses.

    Raises:
        VaejaxError: an estimator whose check returns no `Verdict`.
    """
    num_samples = problem.num_samples
    if reason := no_count("num_samples", num_samples):
        return Verdict("refused", reason)
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
    parts = [problem] if problem.bound.inference is None else split(problem)
    try:
        verdicts = list(map(estimator.check, parts))
    except VaejaxError as error:
        return Verdict("refused", str(error))
    for verdict in verdicts:
        check_verdict(estimator, verdict)
    return max(verdicts, key=lambda verdict: SEVERITY.index(verdict.status))


def check_with_remedy(problem: Problem, estimator: Estimator) -> Verdict:
    """The verdict of `check`, with a remedy that holds for this problem.

    An estimator knows its own needs, and names others in its remedy without knowing
    theirs. Where one of them is not unbiased, two of `RECOMMENDED` that are take their
    place; where none is, the reason is that of the first one named.
    """
    verdict = check(problem, estimator)
    reason, cut, remedy = verdict.reason.rpartition(": use ")
    named = [name for name in ESTIMATORS if name in re.findall(r"\w+", remedy)]
    if not (cut and named) or all(map(partial(_is_unbiased, problem), named)):
        return verdict
    if valid := [name for name in RECOMMENDED if _is_unbiased(problem, name)]:
        return verdict._replace(reason=f"{reason}: use {' or '.join(valid[:2])}")
    return verdict._replace(reason=check(problem, ESTIMATORS[named[0]]()).reason)


def _is_unbiased(problem: Problem, name: str) -> bool:
    return check(problem, ESTIMATORS[name]()).status == "unbiased"


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
