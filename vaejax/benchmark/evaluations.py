"""The number of decoder evaluations in a gradient, counted without running it.

A counted model passes every latent that it decodes through an identity which leaves a
mark in the traced program. A mark holds its multiplicity: `vmap` multiplies it by the
axis, `scan` by the number of steps. XLA merges evaluations at equal latents, as with
parts of the gradient stopped, into one evaluation, and so does the count: operations of
equal inputs have equal outputs (value numbering, Cocke 1970).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from vaejax.core import DistParams, Event, Model, Params

# Operations whose results are their operands, and those that run one program.
TRANSPARENT = ("optimization_barrier", "copy", "copy_p", "stop_gradient")
CALLS = (
    *("pjit", "jit", "closed_call", "core_call", "checkpoint", "remat2"),
    *("custom_jvp_call", "custom_vjp_call"),
)

_mark = Primitive("decoder_evaluation")
_mark.multiple_results = True
_mark.def_impl(lambda *leaves, times: list(leaves))
_mark.def_abstract_eval(lambda *leaves, times: list(leaves))
mlir.register_lowering(_mark, lambda context, *leaves, times: leaves)


def _batch(
    leaves: Sequence[Array], axes: Sequence[int | None], *, times: int
) -> tuple[list[Array], Sequence[int | None]]:
    size = next(x.shape[a] for x, a in zip(leaves, axes, strict=True) if a is not None)
    return _mark.bind(*leaves, times=times * size), axes


def _differentiate(
    leaves: Sequence[Array], tangents: Sequence[Any], *, times: int
) -> tuple[list[Array], Sequence[Any]]:
    return _mark.bind(*leaves, times=times), tangents


batching.primitive_batchers[_mark] = _batch
ad.primitive_jvps[_mark] = _differentiate


def counted(model: Model) -> Model:
    """A copy of the model whose decoder evaluations can be counted."""

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        leaves, structure = jax.tree.flatten(z)
        z = jax.tree.unflatten(structure, _mark.bind(*leaves, times=1))
        return model.decode(params, z, y)

    return dataclasses.replace(model, decode=decode)


def decoder_evaluations(program: ClosedJaxpr) -> int:
    """The evaluations of a counted model's decoder in a traced program.

    The count is of forward evaluations of all examples and samples; each has one pass
    back, if any.

    Raises:
        NotImplementedError: a decoder is evaluated in a loop of unknown length.
    """
    numbering = _Numbering()
    numbering.run(program.jaxpr, program.consts, numbering.fresh(program.jaxpr.invars))
    return sum(numbering.marks.values())


class _Numbering:
    """Value numbering: equal operations on equal values give equal numbers."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.known: dict[Any, list[int]] = {}
        self.marks: dict[tuple, int] = {}  # evaluations by the latents' numbers

    def fresh(self, of: Sequence[Any]) -> list[int]:
        return [next(self.numbers) for _ in of]

    def run(self, jaxpr: Jaxpr, consts: Sequence[Any], inputs: list[int]) -> list[int]:
        """The numbers of a program's outputs."""
        numbers = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, const in zip(jaxpr.constvars, consts, strict=True):
            numbers[variable] = self._of(("const", id(const)), 1)[0]

        def number(atom: Any) -> int:
            if isinstance(atom, Literal):
                return self._of(("literal", str(atom.val), str(atom.aval)), 1)[0]
            return numbers[atom]

        for equation in jaxpr.eqns:
            outputs = self._apply(equation, [number(atom) for atom in equation.invars])
            numbers |= zip(equation.outvars, outputs, strict=True)
        return [number(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, inputs: list[int]) -> list[int]:
        name, params = equation.primitive.name, equation.params
        if equation.primitive is _mark:
            self.marks[tuple(inputs)] = params["times"]
            return inputs
        if name in TRANSPARENT:
            return inputs
        if name in CALLS:
            body = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
            if isinstance(body, ClosedJaxpr):
                return self.run(body.jaxpr, body.consts, inputs)
            return self.run(body, (), inputs)
        if name in ("scan", "while", "cond"):
            self._repeat(params, params.get("length"))
            return self.fresh(equation.outvars)
        return self._of((name, str(params), *inputs), len(equation.outvars))

    def _repeat(self, params: dict[str, Any], steps: int | None) -> None:
        """Add the evaluations in the bodies of a loop, or in branches."""
        for value in params.values():
            for body in value if isinstance(value, tuple) else (value,):
                if not isinstance(body, ClosedJaxpr):
                    continue
                marks = decoder_evaluations(body)
                if marks and steps is None:
                    raise NotImplementedError(
                        "the decoder is evaluated in a branch, or in a loop of "
                        "unknown length, so that its evaluations cannot be counted: "
                        "measure the cost in seconds"
                    )
                self.marks[next(self.numbers),] = marks * (steps or 0)

    def _of(self, operation: Any, count: int) -> list[int]:
        """The numbers of an operation's results, the same at every call."""
        if operation not in self.known:
            self.known[operation] = [next(self.numbers) for _ in range(count)]
        return self.known[operation]
