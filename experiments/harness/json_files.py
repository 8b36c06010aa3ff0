"""Strict reading of JSON files: damage is reported, and nothing else is lost."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaejax.core import VaejaxError
from vaejax.data.files import read_small

LARGEST = 2**26  # bytes of an object
LARGEST_LINES = 2**30  # bytes of a file of rows
DEEPEST = 50  # levels of lists and objects; the experiments' files have up to 6
REMEDIES = {
    "config.json": "restore it from a copy, or remove the folder of its run",
    "results.json": "remove it and resume its run, which finds the results again",
    "tracking.json": "remove it; the trackers then begin a new run",
}


class DamagedFileError(VaejaxError):
    """A file that does not hold what an experiment wrote to it."""


def parse_json(data: bytes, *, finite: bool = True) -> Any:
    """Read JSON in UTF-8; its objects name each entry once, its integers have 64 bits.

    Args:
        data: the text.
        finite: refuse NaN and infinity, which are no JSON, though Python writes them.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    try:
        found = json.loads(data.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_sizes(found, finite=finite)
    return found


def parse_object(data: bytes) -> dict[str, Any]:
    """Read the object that is all of a JSON text.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    found = parse_json(data)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def check_sizes(found: Any, *, finite: bool) -> None:
    """Refuse what a file cannot hold: deeply nested values, and integers of many bits.

    Args:
        found: numbers, words, lists and objects.
        finite: refuse NaN and infinity.

    Raises:
        ValueError: with the reason.
    """
    level = [found]
    for _ in range(DEEPEST):
        if finite and not all(math.isfinite(x) for x in level if type(x) is float):
            raise ValueError("it holds a number that is not finite")
        if any(x.bit_length() > 64 for x in level if type(x) is int):
            raise ValueError("it holds an integer of more than 64 bits")
        held = [x for x in level if type(x) in (dict, list)]
        groups = [x.values() if type(x) is dict else x for x in held]
        level = [value for group in groups for value in group]
    if level:
        raise ValueError("it is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has two entries of one name")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file of a run.

    Raises:
        DamagedFileError: it holds anything else.
        VaejaxError: it cannot be read.
    """
    try:
        return parse_object(read_small(path, LARGEST))
    except OSError as error:
        raise VaejaxError(
            f"cannot read {path} ({error.strerror}): name the folder of a run that "
            "experiments.train wrote"
        ) from error
    except ValueError as error:
        remedy = REMEDIES.get(path.name, "restore it from a copy, or remove it")
        raise DamagedFileError(f"{path} is damaged ({error}): {remedy}") from error


def read_lines(
    path: Path, is_row: Callable[[Any], bool] = lambda row: isinstance(row, dict)
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a file, one per line, and the problems of its other lines.

    A truncated last line, as after a kill, is no damage.

    Args:
        path: the file.
        is_row: whether what a line holds is a row.

    Raises:
        VaejaxError: the file cannot be read.
    """
    try:
        *lines, last = read_small(path, LARGEST_LINES).split(b"\n")
    except OSError as error:
        raise VaejaxError(
            f"cannot read {path} ({error.strerror}): make it a file that you can read"
        ) from error
    except ValueError as error:
        raise VaejaxError(f"cannot read {path} ({error}): move it away") from error
    if not last.isascii():  # `json.dumps` writes ASCII
        lines.append(last)
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line, finite=False)
            if not is_row(row):
                raise ValueError("it is not a row of such a file")
            rows.append(row)
        except ValueError as error:
            problems.append(f"{path} is damaged: line {number} ({error})")
    return rows, problems
