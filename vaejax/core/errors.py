"""The errors that a user can act on, and the known names nearest to a misspelt name."""

import difflib
from collections.abc import Collection

from vaejax.core.ranges import shown


class VaejaxError(Exception):
    """A user's mistake: the message says what was wrong, what is allowed, what to do.

    The command line prints it as one message and exits with code 2.
    """


class IncompatibleError(VaejaxError):
    """A model, bound and estimator that cannot, or may not silently, be combined."""


class UnknownNameError(VaejaxError):
    """A name that is in no registry, or a setting that a factory does not take."""


def unknown(kind: str, name: str, known: Collection[str]) -> UnknownNameError:
    """The error for an unknown name; it lists the nearest names, then all names.

    Args:
        kind: what is named, as in "dataset".
        name: what was given.
        known: the names that there are.
    """
    near = difflib.get_close_matches(name, known, n=3)
    guess = f"did you mean {' or '.join(map(repr, near))}? Use" if near else "use"
    return UnknownNameError(
        f"unknown {kind} {shown(name)}: {guess} one of {sorted(known)}"
    )
