"""The errors that a user can act on, and the known names nearest to a misspelt name."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, TypeVar

from vaejax.core.ranges import shown

T = TypeVar("T")


class VaejaxError(Exception):
    """A user's mistake: the message says what was wrong, what is allowed, what to do.

    The command line prints it as one message and exits with code 2.
    """


class IncompatibleError(VaejaxError):
    """A model, bound and estimator that cannot, or may not silently, be combined."""


class UnknownNameError(VaejaxError, KeyError):
    """A name that is in no registry, or a setting that a factory does not take."""

    __str__ = VaejaxError.__str__  # a KeyError would print the message in quotes


# Names of other code bases and papers, and what they are here.
FOREIGN = {
    "bbvi": "score_function",
    "concrete": "gumbel_softmax",
    "gmvae": "vade",
    "infovae": "mmd",
    "leave_one_out": "rloo",
    "likelihood_ratio": "score_function",
    "reinforce": "score_function",
    "reparam": "pathwise",
    "sbn": "sigmoid_belief_network",
    "sgvb": "pathwise",
    "vae": "gaussian_mlp",
}


def nearest(name: str, known: Collection[str]) -> list[str]:
    """The known names that `name` may mean, at most three, the likeliest first.

    These are the name by which the field's `name` goes here, names that `name`
    abbreviates, as temp does temperature, and similar names, in any case.
    """
    typed = name.lower().replace("-", "_")
    by_lower = {one.lower(): one for one in known}
    short = [one for one in by_lower if len(typed) > 1 and _abbreviates(typed, one)]
    similar = difflib.get_close_matches(typed, by_lower, n=3)
    found = dict.fromkeys([FOREIGN.get(typed, ""), *similar, *short])
    return [by_lower[one] for one in found if one in by_lower][:3]


def _abbreviates(short: str, name: str) -> bool:
    """True if the letters of `short` stand in `name` in this order, from its first."""
    letters = iter(name)
    return name[:1] == short[:1] and all(letter in letters for letter in short)


def one_of(name: str, known: Collection[str]) -> str:
    """The advice for a name that is not known: the nearest names, then all of them."""
    near = nearest(name, known)
    guess = f"did you mean {' or '.join(map(repr, near))}? Use" if near else "use"
    return f"{guess} one of {', '.join(sorted(known))}"


def unknown(kind: str, name: str, known: Collection[str]) -> UnknownNameError:
    """The error for an unknown name, with the advice of `one_of`.

    Args:
        kind: what is named, as in "dataset".
        name: what was given.
        known: the names that there are.
    """
    return UnknownNameError(f"unknown {kind} {shown(name)}: {one_of(name, known)}")


class Registry(dict[str, T]):
    """Records, or the factories of records, of one kind by name.

    `Registry("bound") | {"elbo": elbo}` is a registry of one bound.
    """

    def __init__(self, kind: str) -> None:
        """Make an empty registry of a kind, as in "bound"."""
        super().__init__()
        self.kind = kind

    def __or__(self, others: Mapping[str, Any]) -> "Registry[Any]":  # type: ignore
        """Return a registry of the same kind with more entries."""
        joined: Registry[Any] = Registry(self.kind)
        joined.update(self)
        joined.update(others)
        return joined

    def __missing__(self, name: str) -> NoReturn:
        """Refuse a name that is not registered, with the nearest that are."""
        raise unknown(self.kind, name, self)
