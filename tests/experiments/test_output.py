"""Output that cannot be written or drawn as it is: no run is lost for it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.text import Text

from experiments.harness import result_table, run_folder
from experiments.harness.terminal import console, forgiving_output
from vaejax.plotting import Section, Table, bound_curves, save, write_report
from vaejax.training import checkpoints
from vaejax.training.checkpoints import CheckpointError

NAMES = ("[/b]", "[bold]x", r"$\frac{$", "$x$ $y", "\udcff", "_x", "±", ":smile:")
ROWS = [{"epoch": 1, "train": {"bound": -1.0}, "test": {"bound": -2.0}}]
SCRIPT = "<script>alert(1)</script>"


def printed(encoding: str, errors: str = "strict") -> str:
    """Print every name, alone and in a table, on a terminal of this encoding."""
    buffer = io.BytesIO()
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(buffer, encoding, errors)
    try:
        with forgiving_output():
            print(*NAMES)
            result_table.print_rows(NAMES[0], [{"run": n} for n in NAMES], ["run"])
        return buffer.getvalue().decode(encoding)
    finally:
        sys.stdout = before


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_are_printed_as_they_are_and_what_is_no_character_escaped(encoding):
    shown = printed(encoding)
    for name in NAMES:
        known = name.encode(encoding, "backslashreplace").decode(encoding)
        assert shown.count(known) >= 2  # printed, and in the table


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [Broken(), None])
def test_a_stream_that_cannot_be_written_to_ends_nothing(stream, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with forgiving_output():
        print("lost")
        print("lost", file=sys.stderr, flush=True)
        console().print("lost")
        done = True
    assert done


COMMAND = (
    "import sys; sys.argv = ['toy.py', '--out', {out!r}]\n"
    "from experiments.harness import cli\n"
    "from tests.toy_experiment import Config\n"
    "def run(config):\n"
    "    config.out.mkdir()\n"
    "    for _ in range(9999): print('±' * 99)\n"
    "    (config.out / 'results.json').write_text('kept')\n"
    "cli.run_main(Config, run)\n"
)


@pytest.mark.parametrize("how", ["| head -1", ">&- 2>&-"])
def test_a_process_whose_output_goes_nowhere_keeps_its_results(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(COMMAND.format(out=str(tmp_path / "run")))
    line = f"set -o pipefail; {sys.executable} {script} {how}"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "run" / "results.json").read_text() == "kept"


def test_a_name_that_only_looks_like_mathematics_is_drawn_as_it_is(tmp_path):
    figure = bound_curves(dict.fromkeys(NAMES, ROWS))
    for suffix in ("png", "pdf", "svg"):
        save(figure, tmp_path / f"figure.{suffix}")
    shown = {text.get_text() for text in figure.legends[0].findobj(Text)}
    assert {"[/b]", r"$\frac{$", " _x", "\\udcff"} <= shown


def test_mathematics_of_ours_stays_mathematics(tmp_path):
    figure = bound_curves({r"$\frac{1}{2}$": ROWS})
    save(figure, tmp_path / "figure.png")
    (label,) = [t for t in figure.legends[0].findobj(Text) if "$" in t.get_text()]
    assert label.get_parse_math()


def test_mathematics_over_two_lines_is_drawn_without_a_warning(tmp_path, caplog):
    figure = bound_curves({"a": ROWS})
    figure.axes[0].set_xlabel("$x$ of\nall $y$")
    save(figure, tmp_path / "figure.png")
    assert not caplog.records


def test_a_name_is_text_in_a_report_and_in_a_table_of_results(tmp_path):
    table = Table([SCRIPT], [[SCRIPT], ["\udcff"]], SCRIPT)
    section = Section(SCRIPT, SCRIPT, [table], command=SCRIPT)
    figure = bound_curves({SCRIPT: ROWS})
    figure.set_label(f'" onload="x {SCRIPT}')
    report = write_report(
        tmp_path / "report.html",
        title=SCRIPT,
        lead=[SCRIPT],
        sections=[section, section._replace(figures=[figure])] * 2,
    )
    page = report.read_text()
    assert SCRIPT not in page
    assert '" onload' not in page
    result_table.write_csv(tmp_path / "rows.csv", [{"run": "\udcff ±"}], ["run"])
    assert (tmp_path / "rows.csv").read_bytes() == b"run\n\\udcff \xc2\xb1\n"
    run_folder.write_json(tmp_path / "x.json", {"checkpoint": "\udcff"})
    assert run_folder.read_json(tmp_path / "x.json") == {"checkpoint": "\udcff"}


@pytest.mark.parametrize("name", ["a\\b", "\udcff", "gs:"])
def test_no_checkpoint_is_written_where_it_could_not_be_read(name, tmp_path):
    with pytest.raises(CheckpointError, match="use a path in UTF-8"):
        checkpoints.check_path(tmp_path / name / "checkpoints")
