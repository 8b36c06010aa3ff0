"""Every number has limits, which one function reads from its annotation."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import experiments
from experiments import replay, train
from vaejax import bounds, core, estimators, kl_weights, models, priors, regularizers
from vaejax.core import UnknownNameError, VaejaxError
from vaejax.core.ranges import DEEPEST, LONGEST, Range, mismatch, shown
from vaejax.data import DATASETS
from vaejax.models.parts import LIKELIHOODS, POSTERIORS

REGISTRIES = (
    *(models.MODELS, bounds.BOUNDS, estimators.ESTIMATORS, priors.PRIORS, DATASETS),
    *(POSTERIORS, LIKELIHOODS, regularizers.REGULARIZERS, kl_weights.KL_WEIGHTS),
)
CONFIGS = [
    importlib.import_module(f"experiments.{name}").Config
    for name in [
        *(found.name for found in pkgutil.iter_modules(experiments.__path__)),
        "gallery.__main__",
    ]
    if hasattr(importlib.import_module(f"experiments.{name}"), "Config")
]
HUGE = {
    int: (10**30, -(10**30), 2**63, math.inf, math.nan),
    float: (1e31, -1e31, math.inf, math.nan),
}


def kinds_in(annotation) -> set[type]:
    """The kinds of number that an annotation has, or a part of it."""
    if annotation in HUGE:
        return {annotation}
    return set().union(*map(kinds_in, typing.get_args(annotation)))


def test_every_number_of_every_factory_and_experiment_has_limits():
    annotated = [
        (f"{name}.{parameter.name}", parameter.annotation)
        for registry in REGISTRIES
        for name, factory in registry.items()
        for parameter in inspect.signature(factory).parameters.values()
    ] + [
        (f"{config.__module__}.{name}", annotation)
        for config in CONFIGS
        for name, annotation in typing.get_type_hints(config, None, None, True).items()
    ]
    numbers = {name: kinds_in(hint) for name, hint in annotated}
    assert sum(map(bool, numbers.values())) > 200
    for name, hint in annotated:
        for number in (n for kind in numbers[name] for n in HUGE[kind]):
            assert mismatch(hint, number), name
            assert mismatch(hint, (number,)), name


def test_every_experiment_checks_its_fields():
    for config in CONFIGS:
        hints = typing.get_type_hints(config, include_extras=True)
        known = {
            field.name: Path("run") if "Path" in str(hints[field.name]) else "encode"
            for field in dataclasses.fields(config)
            if field.default is dataclasses.MISSING
        }
        for name in (name for name, hint in hints.items() if kinds_in(hint)):
            with pytest.raises(VaejaxError, match=f"^--{name.replace('_', '-')} is "):
                config(**known, **{name: math.nan})


LAYERS = ("depth", "decoder_depth", "blocks", "num_hidden", "num_partitions")


def test_what_is_built_one_by_one_or_before_any_check_of_memory_is_never_a_million():
    """Layers take time to build; levels and classes become arrays before the check."""
    most = {
        name: max(n.most for n in parameter.annotation.__metadata__)
        for registry in REGISTRIES
        for factory in registry.values()
        for name, parameter in inspect.signature(factory).parameters.items()
        if name in (*LAYERS, "levels", "num_classes")
    }
    assert {*LAYERS, "levels", "num_classes"} == most.keys()
    assert max(most[name] for name in LAYERS) <= 100
    assert most["num_classes"] <= most["levels"] <= 2**16


@given(st.integers() | st.floats(), st.integers(-9, 9), st.integers(-9, 9))
def test_a_range_holds_what_lies_between_its_ends(number, least, most):
    assert (number in Range(least, most)) == (least <= number <= most)
    assert (number in Range(least, most, above=True)) == (least < number <= most)


@pytest.mark.parametrize(
    ("annotation", "fit", "unfit", "words"),
    [
        (int, (1, 10**6), (0, True, 1.0, "1", None), "an integer from 1 to 1,000,000"),
        (float, (0, -1.5, True * 1.0), (math.nan, "x", True), "a number from -1e"),
        (float | None, (None, 1.0), (math.inf, "x"), "a number from"),
        (Sequence[int], ((), (1, 2), [3]), ((0,), (1,) * (DEEPEST + 1)), "each an"),
        (Sequence[int], ((1,),), (1,), "a sequence, as in (1,)"),
        (Sequence[int], ((1,),), ("1x1", None), "a sequence, as in (64,)"),
        (
            tuple[int, ...],
            ((), (1,) * LONGEST),
            ((0,), (1,) * (LONGEST + 1)),
            f"at most {LONGEST} values, each an",
        ),
        (tuple[int, int], ((1, 2),), ((1,), (1, 2, 3), (1, 0)), "2 values, each an"),
        (typing.Literal[1, 2], (1,), (3, "x"), "one of 1, 2"),
        (typing.Annotated[float, Range(0, 1, above=True)], (1,), (0, 2), "above 0, at"),
        (str, ("",), (1, None), "a word"),
        (bool, (True,), (1, "true"), "true or false"),
    ],
)
def test_a_mismatch_says_what_is_expected(annotation, fit, unfit, words):
    assert [mismatch(annotation, value) for value in fit] == [None] * len(fit)
    for value in unfit:
        assert words in mismatch(annotation, value)


def test_a_setting_may_have_any_name_and_is_checked_at_the_library_s_door():
    def factory(name: int = 1, registry: int = 1) -> tuple[int, int]:
        return name, registry

    assert core.build({"f": factory}, "f", name=2, registry=3) == (2, 3)
    with pytest.raises(UnknownNameError, match=r"no setting .*'name'"):
        core.build(models.MODELS, "gaussian_mlp", name=3)
    with pytest.raises(VaejaxError, match="latent_dim=9223372036854775807 must be an"):
        core.build(models.MODELS, "gaussian_mlp", latent_dim=2**63 - 1)
    with pytest.raises(VaejaxError, match="an integer of thousands of digits must"):
        core.build(models.MODELS, "gaussian_mlp", latent_dim=10**5000)
    with pytest.raises(VaejaxError, match="prior_settings=3 must be settings by name"):
        core.build(models.MODELS, "gaussian_mlp", prior_settings=3)


def test_a_configuration_that_cannot_be_does_not_exist(tmp_path):
    words = "--draws is 4294967296: use an integer from 1 to 10,000,000"
    with pytest.raises(VaejaxError, match=words):
        replay.Config(checkpoint=tmp_path, draws=2**32)
    with pytest.raises(VaejaxError, match="--model is 3: use a word"):
        train.Config(model=3)
    with pytest.raises(VaejaxError, match=r"1000001: use .*, or leave it out"):
        dataclasses.replace(train.Config(), eval_examples=10**6 + 1)


def test_a_value_is_shown_in_few_characters():
    assert shown("a") == "'a'"
    assert len(shown("9" * 5000)) < 80
    assert len(shown(10**5000)) < 80
