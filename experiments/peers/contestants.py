"""The processes that compete: each in its own environment, idle unless asked.

A contestant that is not asked is blocked on its stdin (see `peers/protocol.py`), so
that the one being measured has the machine for itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vaejax.core import UnknownNameError, VaejaxError

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
SCRIPTS: dict[str, tuple[str, ...]] = {
    "vaejax": ("vaejax_peer.py",),
    "torch": ("torch_peer.py",),
    "torch_compile": ("torch_peer.py", "--compile"),
    "numpyro": ("numpyro_peer.py",),
}


class ContestantError(VaejaxError):
    """A contestant did not start or ended before it answered."""


class PeerSyntaxError(VaejaxError):
    """A value of `--peers` is not NAME=PYTHON."""


def parse_peers(specs: tuple[str, ...], data: Path) -> dict[str, list[str]]:
    """Commands of vaejax, in this interpreter, and of the peers NAME=PYTHON."""
    pythons = {"vaejax": sys.executable}
    for spec in specs:
        name, separator, python = spec.partition("=")
        if not (separator and python):
            raise PeerSyntaxError(f"--peers takes NAME=PYTHON, got {spec!r}")
        if name not in SCRIPTS:
            raise UnknownNameError(
                f"unknown peer {name!r}: use one of {sorted(SCRIPTS)}"
            )
        pythons[name] = python
    return {
        name: [python, str(PEERS / script), *options, "--data", str(data)]
        for name, python in pythons.items()
        for script, *options in [SCRIPTS[name]]
    }


class Contestant:
    """A running peer process.

    Args:
        name: what the tables call it.
        command: its command line.
        log: file that takes what it prints to stderr.

    Raises:
        ContestantError: it cannot be started; the message says why.
    """

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.log = name, log
        try:
            with log.open("w") as stderr:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    bufsize=1,
                    # vaejax is measured as it stands here, not as it is installed.
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                )
        except OSError as error:
            raise ContestantError(f"{name}: cannot run {command[0]}: {error}") from None
        self.versions = self._answer()["versions"]

    def ask(self, command: dict[str, Any]) -> dict[str, float]:
        """Have a piece of work done; its answer, with `images_per_second`."""
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
        except BrokenPipeError:
            self._fail()
        answer = self._answer()
        return answer | {"images_per_second": answer["images"] / answer["seconds"]}

    def close(self) -> None:
        """End the process, in good order where it still listens."""
        self.process.communicate('{"work": "quit"}\n')

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self._fail()
        return json.loads(line)

    def _fail(self) -> None:
        self.process.communicate()
        lines = self.log.read_text().strip().splitlines() or ["no message"]
        raise ContestantError(
            f"{self.name} ended with code {self.process.returncode}: {lines[-1]} "
            f"(all of it in {self.log})"
        )
