"""The profile of a training, against the same trace read in another format."""

import csv
import gzip
import json
from collections import Counter

import pytest
from tiny_run import tiny

from experiments import train
from vaejax.core import VaejaxError

STEPS = 15  # of an epoch of the digits


@pytest.fixture(scope="module")
def profiled(tmp_path_factory) -> train.Results:
    out = tmp_path_factory.mktemp("profiled") / "run"
    config = tiny(out, epochs=3, profile=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.report, "draw", lambda *_: {})
        return train.run(config)


def test_the_summary_is_the_second_epochs_time_by_operation(profiled):
    folder = profiled.out / "profile"
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    (trace,) = folder.glob("plugins/profile/*/*.trace.json.gz")
    expected: Counter[tuple[str, str]] = Counter()
    for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]:
        operation = event.get("args", {}).get("hlo_op", "while")
        if not operation.startswith(("while", "call", "conditional")):
            expected[event["args"]["hlo_module"], operation] += event["dur"]
    found = {
        (row["program"], row["operation"]): 1e3 * float(row["milliseconds"])
        for row in rows
    }
    assert found.keys() == expected.keys()
    for name, microseconds in expected.items():
        assert found[name] == pytest.approx(microseconds, abs=0.01), name
    times = [float(row["milliseconds"]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)


def test_one_epoch_is_traced_and_no_more(profiled):
    with (profiled.out / "profile" / "summary.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "jit_run_" in row["program"]]
    counts = Counter(int(row["count"]) for row in rows)
    assert counts.most_common(1)[0][0] == STEPS
    # The longest loop in a step is that of JAX's cipher, of five turns.
    assert max(counts) == 5 * STEPS


def test_a_run_without_a_second_epoch_is_refused(tmp_path):
    config = train.Config(dataset="digits", epochs=1, profile=True, out=tmp_path / "r")
    with pytest.raises(VaejaxError, match="at least 2 epochs, or leave --profile out"):
        train.run(config)
    assert not config.out.exists()
