"""Several processes: they find each other, train one model, and fail together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import train
from experiments.training import processes
from experiments.training.load import load_trained
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "dataset": "digits",
    "model_settings": ("hidden=8", "latent_dim=2"),
    "bound": "iwae",
    "num_samples": 2,
    "epochs": 10,
    "batch_size": 200,
    "eval_num_samples": 9,
    "eval_examples": 21,
}


def words():
    flags = []
    for name, value in SETTINGS.items():
        values = value if isinstance(value, tuple) else (value,)
        flags += [f"--{name.replace('_', '-')}", *map(str, values)]
    return flags


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def start_two(folders, *flags):
    """Both processes of a run, each in its folder."""
    together = f"--distributed --coordinator 127.0.0.1:{free_port()} --num-processes 2"
    command = [sys.executable, "-m", "experiments.train", *words(), *together.split()]
    return [
        subprocess.Popen(
            [*command, *flags, "--process-id", str(number), "--out", "run"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, folder in enumerate(folders)
    ]


def finish(both):
    """The exit code, stdout and stderr of each."""
    try:
        done = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    return [
        (process.returncode, out, err)
        for process, (out, err) in zip(both, done, strict=True)
    ]


def test_two_processes_train_the_model_of_one(tmp_path):
    """A signal to the process that writes nothing stops both; both can resume."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    saved = folders[0] / "run" / "checkpoints"
    both = start_two(folders, "--checkpoint-steps", "2")
    while not checkpoints.latest(saved) and all(p.poll() is None for p in both):
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)
    for code, _, err in finish(both):
        assert code == 130, err
        *_, last = err.splitlines()  # after lines of progress
        assert re.fullmatch(r"interrupted: .*--resume continues from there", last)
    stopped_at = checkpoints.latest(saved)

    first, second = finish(start_two([folders[0]] * 2, "--resume"))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "on 2 of 2 devices" in first[1]
    assert "training" not in second[1]
    assert not list(folders[1].iterdir())

    one = train.run(train.Config(**SETTINGS, out=tmp_path / "one"))
    assert 0 < stopped_at < one.summary["train"]["steps"]
    params = load_trained(folders[0] / "run").params
    for mine, theirs in zip(
        jax.tree.leaves(one.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(theirs, mine, rtol=0, atol=2e-4)
    results = json.loads((folders[0] / "run" / "results.json").read_text())
    for name in ("log_likelihood", "monte_carlo_error", "effective_sample_size"):
        assert results["test"][name] == pytest.approx(
            one.summary["test"][name], rel=1e-3
        )


# How they find each other


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(processes, "CONNECT_SECONDS", 0.5)


def meet(*whos):
    """The message to each of some processes: none if all is well."""
    address = f"127.0.0.1:{free_port()}"
    said = [None] * len(whos)

    def join(place, num_processes, process_id):
        try:
            processes._meet(address, num_processes, process_id)
            said[place] = ""
        except VaejaxError as error:
            said[place] = str(error)

    threads = [
        threading.Thread(target=join, args=(place, *who))
        for place, who in enumerate(whos)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_processes_meet_whoever_comes_first():
    assert meet((3, 2), (3, 1), (3, 0)) == ["", "", ""]


@pytest.mark.parametrize(
    ("whos", "message"),
    [
        ([(3, 0), (3, 1), (3, 1)], "two processes have process_id 1: number them"),
        ([(2, 0), (3, 1)], "num_processes is 2 in process 0 and 3 in process 1"),
        ([(3, 0), (3, 1)], r"processes \[2\] of 3 did not connect within"),
        ([(2, 0)], r"processes \[1\] of 2 did not connect within"),
        ([(2, 1)], r"cannot reach the coordinator 127.0.0.1:\d+ within .*process 0"),
    ],
)
def test_all_that_came_are_told_what_is_wrong(whos, message, impatient):
    for said in meet(*whos):
        assert re.search(message, said)


def test_a_stranger_at_the_port_is_no_process():
    port = free_port()
    told = []
    first = threading.Thread(
        target=lambda: told.append(processes._receive_all(port, 2, time.time() + 99))
    )
    first.start()
    for hello in (b"GET / HTTP/1.1\r\n\r\n", b"[1]", b"{}"):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as stranger:
                    stranger.sendall(hello)
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
    hello = {"num_processes": 2, "process_id": 1}
    assert processes._report_to("127.0.0.1", port, hello, time.monotonic() + 99) == ""
    first.join()
    assert told == [""]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "a:1"}, "belong together, and to --distributed"),
        ({"distributed": True, "num_processes": 2}, "belong together"),
        ({"coordinator": "a:1", "process_id": 2}, "process_id is 2, and there are 2"),
        ({"coordinator": "a", "process_id": 0}, "coordinator is 'a': write HOST:PORT"),
        ({"coordinator": "a:b", "process_id": 0}, "'a:b': write HOST:PORT"),
        ({"distributed": True}, "cannot start .*Slurm, Kubernetes or MPI, or name"),
    ],
)
def test_settings_that_cannot_be_are_refused(flags, message, monkeypatch):
    if "process_id" in flags:
        flags = {"distributed": True, "num_processes": 2, **flags}

    def initialize(*_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(VaejaxError, match=message):
        processes.start(train.Config(**flags))


# What they agree on


@pytest.fixture
def second_says(monkeypatch):
    """As process 0 of two, of which the other says what is appended to the list."""
    says = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "_gather", lambda text: [text, says.pop()])
    return says


def test_other_settings_are_named(second_says):
    config = train.Config(seed=1, process_id=0)
    other = processes.config_as_json(train.Config(seed=2, process_id=1))
    second_says.append(json.dumps(other))
    with pytest.raises(VaejaxError, match=r"\(seed is 1 in process 0 and 2 in pro"):
        processes._agree(config)
    second_says.append(json.dumps(other | {"seed": 1}))
    processes._agree(config)


def test_an_error_in_one_process_is_one_in_all(second_says):
    second_says.append("")
    found = 0
    with processes.together():
        found = 5
    assert found == 5
    second_says.append("no data here")
    with (
        pytest.raises(VaejaxError, match="in process 1: no data here"),
        processes.together(),
    ):
        found = 6
    assert found == 6
    second_says.append("")
    with pytest.raises(VaejaxError, match=r"^mine$"), processes.together():
        raise VaejaxError("mine")
    second_says.append("True")
    assert processes.any_process(False)


def test_a_folder_that_is_not_shared_is_refused(second_says):
    second_says.append("30")
    processes.check_shared("the newest checkpoint", 30)
    second_says.append("None")
    with pytest.raises(VaejaxError, match="is 30 in process 0 and None in process 1"):
        processes.check_shared("the newest checkpoint", 30)
