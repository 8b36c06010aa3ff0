"""One run by several processes, on one machine or many.

Every process runs the same program on the same data, and trains on its share of every
batch; process 0 alone writes and prints. If some processes are missing, JAX ends the
others without a useful message: so processes meet here before JAX connects them.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.harness.json_files import parse_json
from experiments.harness.run_settings import config_as_json
from experiments.training.config import Config
from vaejax.core import VaejaxError
from vaejax.core.ranges import shown

CONNECT_SECONDS = 300.0


def start(config: Config) -> None:
    """Join the other processes of a run that is distributed.

    Raises:
        VaejaxError: settings that cannot be, or differ between processes; processes
            that do not find each other.
    """
    _check(config)
    if not config.distributed or jax.distributed.is_initialized():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # The preemption service would handle SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    if config.coordinator is not None:
        _meet(config.coordinator, config.num_processes or 0, config.process_id or 0)
    try:
        jax.distributed.initialize(
            config.coordinator, config.num_processes, config.process_id
        )
    except (ValueError, RuntimeError) as error:
        raise VaejaxError(
            f"cannot start a distributed run ({error}): start it by Slurm, Kubernetes "
            "or MPI, or name --coordinator, --num-processes and --process-id, before "
            "JAX is used for anything else"
        ) from error
    _agree(config)


def is_first() -> bool:
    """True if this process is process 0, which writes and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run a block in every process; an error in one process is an error in all."""
    if jax.process_count() == 1:
        yield
        return
    error = None
    try:
        yield
    except (VaejaxError, OSError) as mistake:
        error = mistake
    others = _gather(str(error or ""))
    if error is not None:
        raise error
    for process, message in enumerate(others):
        if message:
            raise VaejaxError(f"in process {process}: {message}")


def check_shared(what: str, found: object) -> None:
    """Refuse a run whose processes find different values in what they should share.

    Raises:
        VaejaxError: naming what was found where.
    """
    others = _gather(str(found)) if jax.process_count() > 1 else []
    for process, other in enumerate(others):
        if other != others[0]:
            raise VaejaxError(
                f"{what} is {others[0]} in process 0 and {other} in process {process}: "
                "name a folder that all processes share"
            )


def any_process(flag: bool) -> bool:
    """True if the flag is True in any of the processes."""
    return "True" in _gather(str(flag)) if jax.process_count() > 1 else flag


def _check(config: Config) -> None:
    given = [
        value is not None
        for value in (config.coordinator, config.num_processes, config.process_id)
    ]
    if any(given) and not (all(given) and config.distributed):
        raise VaejaxError(
            "--coordinator, --num-processes and --process-id belong together, and to "
            "--distributed: give all four, or --distributed alone under Slurm or "
            "Kubernetes"
        )
    if not any(given):
        return
    assert config.num_processes is not None
    assert config.process_id is not None
    if not 0 <= config.process_id < config.num_processes:
        raise VaejaxError(
            f"process_id is {config.process_id}, and there are {config.num_processes} "
            "processes: number them from 0"
        )
    host, _, port = str(config.coordinator).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise VaejaxError(
            f"coordinator is {shown(config.coordinator)}: write HOST:PORT, as in "
            "node1:12345, with a free port of the machine of process 0"
        )


def _meet(coordinator: str, num_processes: int, process_id: int) -> None:
    """Wait until every process is there once, and all agree on their number."""
    host, _, port = coordinator.rpartition(":")
    hello = {"num_processes": num_processes, "process_id": process_id}
    deadline = time.monotonic() + CONNECT_SECONDS
    problem = (
        _receive_all(int(port), num_processes, deadline)
        if process_id == 0
        else _report_to(host, int(port), hello, deadline)
    )
    if problem:
        raise VaejaxError(problem)


def _receive_all(port: int, num_processes: int, deadline: float) -> str:
    """Wait for all other processes; send them the problem, if any, and return it."""
    numbers: set[int] = set()
    waiting: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", port)))
        except OSError as error:
            return f"cannot listen on port {port} ({error.strerror}): use a free port"
        problem = ""
        while len(numbers) < num_processes - 1 and not problem:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
                stack.enter_context(connection)
                connection.settimeout(5)  # a foreign client may send nothing
                hello = parse_json(connection.recv(1000))
                number, total = int(hello["process_id"]), int(hello["num_processes"])
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue
                missing = sorted(set(range(1, num_processes)) - numbers)
                problem = (
                    f"processes {missing} of {num_processes} did not connect within "
                    f"{CONNECT_SECONDS:.0f} s: start all of them where they can reach "
                    "the coordinator"
                )
            except (OSError, ValueError, TypeError, KeyError):
                continue  # no process of this run
            else:
                if total != num_processes:
                    problem = (
                        f"num_processes is {num_processes} in process 0 and {total} "
                        f"in process {number}: give every process the same number"
                    )
                elif number in numbers:
                    problem = (
                        f"two processes have process_id {number}: number them from 0 "
                        f"to {num_processes - 1}"
                    )
                numbers.add(number)
                waiting.append(connection)
        for connection in waiting:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps({"problem": problem}).encode())
    return problem


def _report_to(host: str, port: int, hello: dict[str, int], deadline: float) -> str:
    """Report this process to process 0; return the problem, if any."""
    reason = "no answer"
    while time.monotonic() < deadline:
        left = max(0.01, deadline - time.monotonic())
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.settimeout(left + 10)  # process 0 reports missing ones
                connection.sendall(json.dumps(hello).encode())
                return parse_json(connection.recv(10_000))["problem"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Process 0 may start later, and something else may answer before.
            reason = str(error)
            time.sleep(0.2)
    return (
        f"cannot reach the coordinator {host}:{port} within {CONNECT_SECONDS:.0f} s "
        f"({reason}): start process 0 there, and open the port"
    )


def _agree(config: Config) -> None:
    """Refuse processes whose settings differ, except in `process_id`."""
    settings = config_as_json(config)
    del settings["process_id"]
    all_settings = [json.loads(text) for text in _gather(json.dumps(settings))]
    for process, other in enumerate(all_settings):
        differing = [
            f"{name} is {all_settings[0][name]!r} in process 0 and {other[name]!r} in "
            f"process {process}"
            for name in settings
            if other[name] != all_settings[0][name]
        ]
        if differing:
            raise VaejaxError(
                f"the processes' settings differ ({'; '.join(differing)}): start all "
                "processes with the same settings"
            )


def _gather(text: str) -> list[str]:
    """The texts of all processes, in every process."""
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: len(content)] = content
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]
