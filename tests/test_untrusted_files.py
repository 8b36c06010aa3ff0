"""No file that vaejax reads runs code, leaves its folder or fills the memory."""

import ast
import dataclasses
import gzip
import pickle
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.io

from vaejax.core import Objective, Params
from vaejax.data.formats import read_mat
from vaejax.data.raw import read_raw
from vaejax.data.sources import MNIST
from vaejax.data.types import DataError
from vaejax.training import checkpoints, init_state

ROOT = Path(__file__).parent.parent
MODULES = {
    *("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("tarfile", "zipfile"),  # whose members may be named ../../anything
}
CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "shutil.unpack_archive", "pandas.read_pickle"),
}


def dangers(text: str) -> set[str]:
    """What turns the content of a file into code, or the names in it into paths."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module).partition(".")[0]} & MODULES
        elif isinstance(node, ast.Call):
            found |= {ast.unparse(node.func)} & CALLS
            found |= {str(k.arg) for k in node.keywords} & {"allow_pickle"}
    return found


def test_nothing_of_ours_unpickles_unpacks_or_evaluates():
    paths = [
        path
        for package in ("vaejax", "experiments")
        for path in (ROOT / package).rglob("*.py")
    ]
    assert len(paths) > 100
    assert {str(p): d for p in paths if (d := dangers(p.read_text()))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "import tarfile as t",
        "eval(text)",
        "numpy.load(path, allow_pickle=True)",
        "shutil.unpack_archive(path)",
    ],
)
def test_a_planted_danger_is_seen(text):
    assert dangers(text)


def test_a_checkpoint_is_read_without_unpickling(tmp_path, monkeypatch):
    def init(key):
        return Params(encoder=(), decoder=jnp.ones(3), prior=()), ()

    objective = Objective(init=init, loss=lambda *_: None)
    state = init_state(objective, optax.adam(1.0), jax.random.key(0))
    checkpoints.save(tmp_path, state, {"rows": []})

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        np.load(_pickled(tmp_path), allow_pickle=True)  # numpy looks it up as we do
    restored, _ = checkpoints.restore(tmp_path, state)
    chex.assert_trees_all_equal(restored.params, state.params)


def _pickled(folder: Path) -> Path:
    path = folder / "objects.npy"
    np.save(path, np.array([{}], dtype=object))
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("downloaded", [True, False])
def test_a_file_of_no_end_is_refused_before_it_fills_the_memory(
    packed, downloaded, tmp_path
):
    file = dataclasses.replace(MNIST.files[0], shape=(3, 28, 28), download_sha256=None)
    endless = bytes(2**23)
    content = gzip.compress(endless) if packed else endless
    (tmp_path / file.name).write_bytes(content)
    source = dataclasses.replace(MNIST, files=(file,), base_url=tmp_path.as_uri() + "/")
    with pytest.raises(DataError, match=r"holds more than 1,05\d,\d+ bytes"):
        read_raw(source, None if downloaded else tmp_path)


def test_a_matlab_file_is_only_unpacked_if_it_promises_what_it_must(
    tmp_path, monkeypatch
):
    path = tmp_path / "large.mat"
    large = np.zeros((1000, 5000), np.uint8)
    scipy.io.savemat(path, {"ff": large}, do_compression=True)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(scipy.io, "loadmat", None)
    with pytest.raises(ValueError, match=r"ff is uint8 \(1000, 5000\), expected uint8"):
        read_mat(path.read_bytes(), (5, 28, 20))
