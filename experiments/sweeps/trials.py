"""Running the trials of a sweep: one after the other, or as tasks of a Ray cluster."""

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from experiments.harness import run_folder
from experiments.harness.extras import import_extra
from experiments.sweeps.grid import Trial, load_experiment
from vaejax.core import VaejaxError
from vaejax.core.ranges import shown
from vaejax.data.files import open_regular

Outcome = tuple[Trial, str | None]  # with the error message, if any


def run_in_place(experiment: str, trials: Sequence[Trial]) -> Iterator[Outcome]:
    """Run every trial in this process, in order."""
    for trial in trials:
        yield trial, run_trial(experiment, trial)
        jax.clear_caches()  # a trial's programs, 40 MB, serve no other


def run_trial(experiment: str, trial: Trial) -> str | None:
    """Run one trial, its output in log.txt; return the error message, if any.

    An error ends only its trial: the others must go on.
    """
    out = trial.config.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            open_regular(out / "log.txt", "a") as log,
            contextlib.redirect_stdout(log),
        ):
            try:
                load_experiment(experiment).run(trial.config)
            except Exception:
                traceback.print_exc(file=log)
                raise
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def run_on_ray(
    experiment: str,
    trials: Sequence[Trial],
    *,
    where: str,
    max_retries: int,
    cpus_per_trial: float,
    gpus_per_trial: float,
) -> Iterator[Outcome]:
    """Run every trial as a task of Ray, which places and runs the trial.

    The machines of a cluster have this code, and see this folder under the same name.
    A trial whose worker dies is repeated, and resumes from its last checkpoint.

    Args:
        experiment: as for `load_experiment`.
        trials: what to run, in the order in which they finish.
        where: what `ray.init` takes: local, auto or the address of a cluster.
        max_retries: of a trial whose worker died.
        cpus_per_trial: how many of a machine's CPU cores a trial claims.
        gpus_per_trial: how many of a machine's GPUs; trials share one by fractions.

    Raises:
        VaejaxError: Ray is not installed, or there is no such cluster.
    """
    ray = import_extra("ray")
    folder = os.getcwd()

    def task(trial: Trial) -> str | None:
        os.chdir(folder)
        return run_trial(experiment, trial)

    claims = {"CPU": cpus_per_trial, "GPU": gpus_per_trial}
    remote = ray.remote(
        num_cpus=cpus_per_trial,
        num_gpus=gpus_per_trial,
        max_retries=max_retries,
        runtime_env=_share_of_memory(gpus_per_trial),
    )(task)
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        session = ray.init(address=where)
    except (OSError, RuntimeError, ValueError) as error:
        raise VaejaxError(
            f"Ray does not start at {shown(where)} ({error}): use local, auto for a "
            "running cluster, or the address of a cluster"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray's own handler aborts
    with session:
        for what, claim in claims.items():
            there = ray.cluster_resources().get(what, 0)
            if where == "local" and claim > there:  # a cluster may grow
                raise VaejaxError(
                    f"a trial claims {claim:g} {what}s, and there are {there:g}: "
                    "claim fewer, or use a cluster"
                )
        pending: dict[Any, Trial] = {remote.remote(trial): trial for trial in trials}
        for trial in trials:
            run_folder.saved(trial.config.out)  # the sweep runs its trials
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            trial = pending.pop(done)
            try:
                yield trial, ray.get(done)
            except ray.exceptions.RayError as error:  # the worker died too often
                run_folder.record_failure(trial.config.out, error)
                yield trial, str(error)


def _share_of_memory(gpus: float) -> dict[str, dict[str, str]]:
    """The environment that limits JAX to a trial's share of a GPU, not to 3/4 of it."""
    if not 0 < gpus < 1:
        return {}
    return {"env_vars": {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 * gpus:.3f}"}}
