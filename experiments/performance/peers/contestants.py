"""The processes that compete: each in its own environment, idle unless asked.

A contestant that is not asked is blocked on its stdin (see `peers/protocol.py`), so
that the one being measured has the machine for itself.
"""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from vaejax.core import VaejaxError, unknown
from vaejax.core.ranges import shown

PEERS = Path(__file__).resolve().parent
ROOT = PEERS.parents[2]
SCRIPTS: dict[str, tuple[str, ...]] = {
    "vaejax": ("vaejax_peer.py",),
    "loop": ("loop_peer.py",),
    "torch": ("torch_peer.py",),
    "torch_compile": ("torch_peer.py", "--compile"),
    "numpyro": ("numpyro_peer.py",),
    "pythae": ("pythae_peer.py",),
    "jax_random": ("vaejax_peer.py", "--prng", "jax"),
    "tensorfloat32": ("vaejax_peer.py", "--matmul-precision", "tensorfloat32"),
    "bfloat16": ("vaejax_peer.py", "--matmul-precision", "bfloat16"),
    "8_seeds": ("vaejax_peer.py", "--num-seeds", "8"),
}


class ContestantError(VaejaxError):
    """A contestant did not start or ended before it answered."""


class PeerSyntaxError(VaejaxError):
    """A value of `--peers` is not NAME=PYTHON."""


def parse_peers(
    specs: tuple[str, ...], data: Path, own: tuple[str, ...] = ("vaejax", "loop")
) -> dict[str, list[str]]:
    """Commands of `own` scripts, in this interpreter, and of NAME=PYTHON."""
    pythons = dict.fromkeys(own, sys.executable)
    for spec in specs:
        name, separator, python = spec.partition("=")
        if not (separator and python):
            raise PeerSyntaxError(
                f"--peers is {shown(spec)}: write NAME=PYTHON, as in "
                "torch=/opt/torch/bin/python"
            )
        if name not in SCRIPTS:
            raise unknown("peer", name, SCRIPTS)
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
        cache: folder of compiled programs, for vaejax; the others keep none.
        limit: seconds within which it answers.

    Raises:
        ContestantError: it cannot be started; the message says why.
    """

    def __init__(
        self, name: str, command: list[str], log: Path, cache: Path, limit: float
    ) -> None:
        self.name, self.log, self.limit = name, log, limit
        environment = {
            # vaejax is measured as it stands here, not as it is installed.
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_ENABLE_X64": "0",  # all compute in float32,
            "JAX_DEFAULT_MATMUL_PRECISION": "float32",  # on a GPU, too
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # they share a GPU
            "JAX_ENABLE_COMPILATION_CACHE": str(name == "vaejax").lower(),
        }
        start = time.perf_counter()
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as stderr:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    bufsize=1,
                    env=os.environ | environment,
                )
        except OSError as error:
            raise ContestantError(f"{name}: cannot run {command[0]}: {error}") from None
        self.versions = self._answer()["versions"]
        self.start_seconds = time.perf_counter() - start

    def ask(self, command: dict[str, Any]) -> dict[str, float]:
        """Have a piece of work done; its answer, with `images_per_second`."""
        assert self.process.stdin is not None  # it is a pipe
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
        except BrokenPipeError:
            self._fail()
        answer = self._answer()
        return answer | {"images_per_second": answer["images"] / answer["seconds"]}

    def close(self) -> None:
        """End the process, in good order where it still listens."""
        if self.process.poll() is None:
            self.process.communicate('{"work": "quit"}\n')

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        # It writes a line for a command, so that no second line waits in a buffer.
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.process.kill()
            self.process.communicate()
            raise ContestantError(
                f"{self.name} gave no answer within {self.limit:g} s: use a larger "
                "--peer-seconds, or leave it out of --peers"
            )
        line = self.process.stdout.readline()
        if not line:
            self._fail()
        return json.loads(line)

    def _fail(self) -> NoReturn:
        self.process.communicate()
        lines = self.log.read_text().strip().splitlines() or ["no message"]
        raise ContestantError(
            f"{self.name} ended with code {self.process.returncode}: {lines[-1]} (the "
            f"whole output is in {self.log})"
        )
