"""`--help`: the settings of a command, their meanings and defaults, in 80 columns.

A class that a `Config` inherits from is a group, named by its docstring; the string
below a field says what the field means.
"""

import dataclasses
import inspect
import textwrap

from experiments.harness.arguments import Flag, flags_of

WIDTH = 80
SECOND = 27  # start of the second column


def help_text(command: str, config_class: type) -> str:
    """The text of `--help`: the flags by group, with their meanings and defaults."""
    flags = flags_of(config_class)
    required = [flag for flag in flags if flag.default is dataclasses.MISSING]
    usage = [f"python -m experiments.{command}", *(flag.usage for flag in required)]
    first = (inspect.getdoc(config_class) or "").partition("\n")[0]
    lines = [" ".join(usage), first]
    group = None
    for flag in flags:
        if flag.group != group and len({other.group for other in flags}) > 1:
            lines.append(f"{flag.group or 'Run'}:")
            group = flag.group
        lines += _row(flag.usage, _described(flag))
    more = (
        "Also --help, --list KIND, --config FILE (flags override it), "
        "--trust (its code)"
    )
    return "\n".join([*lines, more])


def _described(flag: Flag) -> str:
    """The help of a flag, the `--list` kind of its names, and its default."""
    notes = [f"--list {flag.option.names}"] if flag.option.names else []
    meaning, depends, default = flag.help.partition(" (default: ")
    is_shown = flag.default not in (None, (), dataclasses.MISSING)
    if depends:  # the string below the field says what on
        notes.append(f"default: {default.removesuffix(')')}")
    elif is_shown and flag.default is not False:
        values = flag.default if flag.kind is tuple else (flag.default,)
        notes.append(f"default: {' '.join(map(str, values))}")
    return f"{meaning} ({'; '.join(notes)})".strip() if notes else meaning


def _row(left: str, right: str) -> list[str]:
    """Two columns, the second folded; a long first column is on a separate line."""
    indent = " " * SECOND
    folded = textwrap.wrap(right, WIDTH - SECOND) or [""]
    if len(left) + 4 > SECOND:
        return [f"  {left}", *(indent + line for line in folded)]
    first, *more = folded
    return [f"  {left}".ljust(SECOND) + first, *(indent + line for line in more)]
