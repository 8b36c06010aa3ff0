"""The errors that a user can act on, and the names that a misspelt one is near to."""

import difflib
from collections.abc import Collection


class VaejaxError(Exception):
    """A user's mistake: the message says what was wrong, what is allowed, what to do.

    The command line prints it as one message and exits with code 2.
    """


class IncompatibleError(VaejaxError):
    """A model, bound and estimator that cannot, or may not silently, be combined."""


class UnknownNameError(VaejaxError):
    """A name that a registry does not hold, or a setting that a factory lacks."""


def unknown(kind: str, name: str, known: Collection[str]) -> UnknownNameError:
    """The error for a name that is none of the known ones: the nearest, then all.

    Args:
        kind: what is named, as in "dataset".
        name: what was given.
        known: the names that there are.
    """
    near = difflib.get_close_matches(name, known, n=3)
    guess = f"did you mean {' or '.join(map(repr, near))}? Use" if near else "use"
    return UnknownNameError(f"unknown {kind} {name!r}: {guess} one of {sorted(known)}")
