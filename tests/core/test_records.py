"""The records of core stay small, and every field says what it is."""

import ast
import dataclasses
import inspect
import io
import itertools
import textwrap
import tokenize

import pytest

from vaejax.bounds import iwae
from vaejax.core import Family, Model, Objective, family, model, objective, record
from vaejax.estimators import rebar
from vaejax.models import gaussian_mlp

RECORDS = [
    value
    for module in (family, model, objective)
    for value in vars(module).values()
    if inspect.isclass(value) and value.__module__ == module.__name__
    if dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize(("made", "most"), [(Family, 20), (Model, 12), (Objective, 5)])
def test_a_record_has_few_fields(made, most):
    assert len(dataclasses.fields(made)) <= most


def test_a_record_with_a_name_prints_its_name():
    assert repr(gaussian_mlp()) == "Model('gaussian_mlp')"
    assert repr(iwae()) == "Bound('iwae')"
    assert repr(rebar(temperature=0.1)) == "Estimator('rebar:temperature=0.1')"
    assert repr(model.Labels(num_classes=3)) == "Labels(num_classes=3)"


def undocumented(source: str) -> list[str]:
    """The fields of a class that have neither a comment nor a docstring of their own.

    A comment stands on a line of the field, or on the line before it.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        token.start[0]: not token.line[: token.start[1]].strip()  # alone on its line?
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    (defined,) = ast.parse(source).body
    body, bare = [*defined.body, None], []
    for field, after in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign):
            continue
        beside = any(
            line in comments for line in range(field.lineno, field.end_lineno + 1)
        )
        above = comments.get(field.lineno - 1, False)
        below = (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        )
        if not (beside or above or below):
            bare.append(field.target.id)
    return bare


def test_the_records_are_found():
    names = {made.__name__ for made in RECORDS}
    assert {"Bound", "Estimator", "Family", "Head", "Regularizer"} <= names


@pytest.mark.parametrize("made", RECORDS, ids=lambda made: made.__name__)
def test_every_field_of_a_record_says_what_it_is(made):
    assert not undocumented(textwrap.dedent(inspect.getsource(made)))


def test_a_field_without_a_comment_is_found():
    @record
    class Half:
        """A record, some of whose fields are told."""

        bare: int
        beside: int  # what it is
        after: int
        # Above.
        above: int
        below: int
        """A field."""
        wide: dict[
            str,  # the name
            int,
        ]

    source = textwrap.dedent(inspect.getsource(Half))
    assert undocumented(source) == ["bare", "after"]
