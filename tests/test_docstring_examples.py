"""The examples in docstrings run, and every bound and estimator has one.

They see what `import jax, jax.numpy as jnp, optax, vaejax` gives, and the public names
of vaejax and of its bounds, estimators and models.
"""

import doctest
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
import pytest

import vaejax
from vaejax import bounds, estimators, models
from vaejax.bounds import BOUNDS
from vaejax.estimators import ESTIMATORS

pytestmark = pytest.mark.slow

NAMES = {"jax": jax, "jnp": jnp, "optax": optax, "vaejax": vaejax}
for module in (models, estimators, bounds, vaejax):
    NAMES |= {name: getattr(module, name) for name in dir(module) if name[0] != "_"}
DOORS = [
    *(vaejax.make_objective, vaejax.fit, vaejax.log_likelihood, bounds.train_apart),
    *(vaejax.compare_estimators, vaejax.check_unbiased, vaejax.training.save),
    vaejax.benchmark.advise,
]
DOCUMENTED = [*BOUNDS.values(), *ESTIMATORS.values(), *DOORS]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def failures(function: Callable) -> list[str]:
    """The outputs of a docstring's examples that differ from the stated outputs."""
    code = inspect.unwrap(function)
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function), dict(NAMES), code.__name__, None, 0
    )
    assert test.examples, f"{code.__name__} has no example"
    found: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=found.append)
    return found


@pytest.mark.parametrize("function", DOCUMENTED, ids=lambda one: one.__name__)
def test_the_examples_of_a_docstring_hold(function):
    assert failures(function) == []


def test_an_example_that_does_not_hold_is_found():
    def planted():
        """Claim.

        Examples:
            >>> round(float(iwae().aggregate(jnp.zeros(3))), 3)
            0.693
        """

    assert "Expected" in "".join(failures(planted))
    with pytest.raises(AssertionError, match="has no example"):
        failures(len)
