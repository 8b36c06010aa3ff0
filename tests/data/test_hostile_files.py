"""No file that vaejax reads runs code, leaves its folder or fills the memory."""

import ast
import dataclasses
import gzip
import io
import json
import os
import pickle
import resource
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import chex
import cv2
import numpy as np
import pytest
import scipy.io
from small_checkpoint import saved_state

from experiments.harness.json_files import read_json, read_lines
from vaejax.core import VaejaxError
from vaejax.data import DATASETS, load
from vaejax.data.formats import read_mat
from vaejax.data.images import decode_images, image_size
from vaejax.data.prepared import Stored
from vaejax.data.raw import read_raw
from vaejax.data.sources import MNIST
from vaejax.data.types import DataError
from vaejax.training import checkpoints

ROOT = Path(__file__).parents[2]
MODULES = {
    *("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("tarfile", "zipfile"),  # whose members may be named ../../anything
}
CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "shutil.unpack_archive", "pandas.read_pickle"),
}


def dangers(text: str) -> set[str]:
    """A way to turn the content of a file into code, or its names into paths."""
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
    # A user's own factories are run at the user's word alone: see its tests.
    trusted = ROOT / "vaejax/core/own_code.py"
    assert dangers(trusted.read_text()) == {"compile", "exec"}
    paths.remove(trusted)
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
    state = saved_state(tmp_path)

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        np.load(_pickled(tmp_path), allow_pickle=True)  # numpy looks it up as we do
    restored, _ = checkpoints.restore(tmp_path, state)
    chex.assert_trees_all_equal(restored.params, state.params)


@pytest.mark.parametrize(
    "arrays",
    [
        {"bytes": np.zeros(10**7, np.uint8)},
        {"bytes": np.zeros(60, np.uint8), "more": np.zeros(10**7, np.uint8)},
        {"more": np.zeros(60, np.uint8)},
    ],
    ids=["larger", "one more", "another"],
)
def test_arrays_that_no_checkpoint_has_are_refused_unread(
    arrays, tmp_path, monkeypatch
):
    state = saved_state(tmp_path)
    checkpoints.restore(tmp_path, state)
    with checkpoints._checkpointer() as checkpointer:
        described = checkpointer.metadata(tmp_path / "0").custom_metadata
        checkpointer.save(tmp_path / "0", arrays, force=True, custom_metadata=described)

    def refuse(*args, **kwargs):
        pytest.exit("read")

    monkeypatch.setattr(checkpoints.ocp.Checkpointer, "restore", refuse)
    with (
        pytest.warns(UserWarning, match="its metadata name other arrays than it holds"),
        pytest.raises(checkpoints.CheckpointError, match="is whole"),
    ):
        checkpoints.restore(tmp_path, state)


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


MOST = 16 * 5 * 28 * 20 + 2**20  # bytes that an element of such a file may have


def matlab(*variables: np.ndarray, compressed: bool = True) -> bytes:
    """A MATLAB 5 file of variables that are all called ff."""
    content = b""
    for variable in variables:
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"ff": variable}, do_compression=compressed)
        content = content or buffer.getvalue()[:128]
        content += buffer.getvalue()[128:]
    return content


def packed(content: bytes) -> bytes:
    data = zlib.compress(content)
    return struct.pack("<II", 15, len(data)) + data


RIGHT = np.zeros((560, 5), np.uint8)
LARGE = np.zeros((560, 50_000), np.uint8)
BOMBS = {
    "of another shape": (matlab(np.zeros((1, 5), np.uint8)), "expected uint8"),
    "larger": (matlab(LARGE), "its variables are larger"),
    "larger, and as it must be": (matlab(LARGE, RIGHT), "its variables are larger"),
    "twice there": (matlab(RIGHT, RIGHT), "exactly one variable ff"),
    "many": (matlab(*[RIGHT] * 500), "its variables are larger"),
    "packed twice": (
        matlab(RIGHT)[:128] + packed(packed(matlab(LARGE, compressed=False)[128:])),
        "is not exactly one variable",
    ),
    "one behind another": (
        matlab(RIGHT)[:128] + packed(matlab(RIGHT, RIGHT, compressed=False)[128:]),
        "is not exactly one variable",
    ),
    "longer than its shape": (
        matlab(RIGHT)[:128]
        + packed(
            matlab(RIGHT, compressed=False)[128:].replace(
                struct.pack("<II", 2, 2800), struct.pack("<II", 2, 2**32 - 8)
            )
        ),
        "it is not a MATLAB 5 file",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_matlab_file_is_never_unpacked_beyond_its_size(bomb):
    data, says = BOMBS[bomb]
    read_mat(matlab(RIGHT), (5, 28, 20))  # imports scipy
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=says):
        read_mat(data, (5, 28, 20))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 1024 * (after - before) < 10 * MOST


def test_a_matlab_variable_is_only_made_room_for_if_it_is_what_it_must_be(monkeypatch):
    data = matlab(np.zeros((560, 6), np.uint8))
    monkeypatch.setattr(scipy.io, "loadmat", None)
    with pytest.raises(ValueError, match=r"ff is uint8 \(560, 6\), expected uint8"):
        read_mat(data, (5, 28, 20))


# Prepared data: a folder of shards, and JSON that names what reads them.

PREPARED: dict[str, Stored] = {
    name: read.args[0]
    for name, make in DATASETS.items()
    if isinstance(read := make().read, partial)
}
PLANTED = "planted_by_a_stranger"
TFDS = "tensorflow_datasets.core.features."


def _dictionary(feature: dict) -> dict:
    return {
        "pythonClassName": TFDS + "features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": feature}},
    }


def _in_a_string(feature: dict) -> dict:
    return {
        "pythonClassName": TFDS + "sequence_feature.Sequence",
        "jsonFeature": {"json": json.dumps({"feature": feature, "length": 1})},
    }


def _as_protocol(feature: dict) -> dict:
    return {
        "type": TFDS + "features_dict.FeaturesDict",
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": json.dumps({"features": {"image": feature}}),
    }


NEW = {"pythonClassName": f"{PLANTED}.Feature"}
OLD = {"type": f"{PLANTED}.Feature", "content": {}}
ROUTES = {
    "named": NEW,
    "named, as of old": OLD,
    "in a dictionary": _dictionary(NEW),
    "in a string": _in_a_string(OLD),
    "in a string in a dictionary": _dictionary(_in_a_string(OLD)),
    "in a string in a string": _in_a_string(_in_a_string(OLD)),
    "as a protocol": _as_protocol(NEW),
    "as a protocol, in a string": _in_a_string(_as_protocol(NEW)),
}


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def rows(stored: Stored, count: int = 3) -> list[dict]:
    """Make valid examples of a set."""
    if len(stored.shape) == 1:
        counts = zlib.compress(np.ones(stored.shape, "<u2").tobytes())
        return [{"counts": counts}] * count
    row = {"image": png(np.ones(stored.shape, np.uint8))}
    row |= dict.fromkeys([f"label_{name}" for name, _ in stored.factors], 0)
    return [row | ({} if stored.num_classes is None else {"label": 1})] * count


def write_shard(path: Path, examples: list[dict]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for row in examples:
        example = tf_example_pb2.Example()
        for name, value in row.items():
            feature = example.features.feature[name]
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            else:
                feature.int64_list.value.append(value)
        writer.write(example.SerializeToString())
    writer.close()


def store(
    data_dir: Path, stored: Stored, examples: list[dict] | None = None, **info: object
) -> Path:
    """A prepared set: shards, and the JSON that TFDS writes beside them."""
    folder = data_dir / stored.name / "3.0.1"
    splits = {"train"} if stored.drawn else {*DATASETS[stored.name]().splits}
    enough = 3 if stored.drawn is None else sum(stored.drawn)
    for split in splits:
        path = folder / f"{stored.name}-{split}.array_record-00000-of-00001"
        write_shard(path, examples or rows(stored, enough))
    described = {
        "fileFormat": "array_record",
        "moduleName": f"{PLANTED}.builder",
        "name": stored.name,
        "version": "3.0.1",
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": "1",
                "shardLengths": [str(len(examples or rows(stored, enough)))],
            }
            | info
            for split in splits
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(described))
    (folder / "features.json").write_text(json.dumps(_dictionary(NEW)))
    if len(stored.shape) == 1:
        words = [f"word{i}" for i in range(*stored.shape)]
        (folder / "metadata.json").write_text(json.dumps({"words": words}))
    return folder


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that anyone could import, and that must not be."""
    (tmp_path / "stranger").mkdir()
    (tmp_path / f"stranger/{PLANTED}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "stranger")
    yield PLANTED
    sys.modules.pop(PLANTED, None)


def small(name: str) -> Stored:
    """The set, of which fewer images are drawn where they are."""
    stored = PREPARED[name]
    return stored if stored.drawn is None else dataclasses.replace(stored, drawn=(2, 1))


def read(stored: Stored, data_dir: Path):
    return DATASETS[stored.name]().read.func(stored, "train", data_dir)


@pytest.mark.parametrize("name", PREPARED)
def test_no_code_that_a_prepared_set_names_is_imported(name, planted, tmp_path):
    stored = small(name)
    folder = store(tmp_path, stored)
    for route, features in ROUTES.items():
        (folder / "features.json").write_text(json.dumps(features))
        data = read(stored, tmp_path)
        assert planted not in sys.modules, route
        assert len(data.images) == (2 if stored.drawn else 3)


@pytest.mark.parametrize("route", ROUTES)
def test_tensorflow_datasets_would_import_it(route, planted, tmp_path):
    """The negative control: each of the routes leads somewhere."""
    import tensorflow_datasets as tfds

    folder = store(tmp_path, PREPARED["mnist"])
    (folder / "features.json").write_text(json.dumps(ROUTES[route]))
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector"):
        tfds.builder_from_directory(folder)
    assert planted in sys.modules


@pytest.mark.parametrize(
    "info",
    [
        {"filepathTemplate": "{DATASET}-{SPLIT}.elsewhere-{SHARD_X_OF_Y}"},
        {"filepathTemplate": "../../elsewhere/{SPLIT}"},
        {"filepathTemplate": "/elsewhere/{SPLIT}"},
        {"shardLengths": ["1000000000"]},
        {"shardLengths": ["1"] * 1000},
        {"numBytes": "9000000000000000000"},
    ],
    ids=str,
)
def test_no_file_or_length_that_a_prepared_set_names_is_used(info, tmp_path):
    store(tmp_path, PREPARED["mnist"], **info)
    data = load("mnist", data_dir=tmp_path)
    assert data.images.shape == (3, 28, 28, 1)
    assert data.labels.tolist() == [1, 1, 1]


def test_shards_are_all_those_of_one_number(tmp_path):
    folder = store(tmp_path, PREPARED["mnist"])
    one = folder / "mnist-train.array_record-00000-of-00001"
    one.rename(folder / "mnist-train.array_record-00001-of-00002")
    with pytest.raises(DataError, match=r"no file mnist-train\.array_record-00000-of-"):
        load("mnist", data_dir=tmp_path)
    write_shard(
        folder / "mnist-train.array_record-00000-of-00002", rows(small("mnist"))
    )
    assert len(load("mnist", data_dir=tmp_path).images) == 6
    write_shard(folder / f"{one.name[:-1]}3", rows(small("mnist")))
    with pytest.raises(
        DataError, match=r"no file mnist-train\.array_record-0000\d-of-"
    ):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("endless", ["pipe", "device", "folder"])
def test_a_shard_is_a_file(endless, tmp_path):
    folder = store(tmp_path, PREPARED["mnist"])
    shard = folder / "mnist-train.array_record-00000-of-00001"
    shard.unlink()
    if endless == "pipe":
        os.mkfifo(shard)
    elif endless == "device":
        shard.symlink_to("/dev/zero")
    else:
        shard.mkdir()
    with pytest.raises(DataError, match=f"no file {shard.name}"):
        load("mnist", data_dir=tmp_path)


def test_a_link_to_a_file_is_followed(tmp_path):
    """Stores of data (DVC, git-annex, caches of hubs) consist of such links."""
    folder = store(tmp_path, PREPARED["mnist"])
    shard = folder / "mnist-train.array_record-00000-of-00001"
    shard.symlink_to(shard.rename(tmp_path / "stored"))
    assert len(load("mnist", data_dir=tmp_path).images) == 3


def huge(kind: str) -> bytes:
    """A small file that says it is an image of 30,000 x 30,000 pixels."""
    if kind == "png":
        header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
        packed = b"IDAT" + zlib.compress(bytes(1_000))
        chunks = [
            struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
            for c in (header, packed, b"IEND")
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    whole = bytearray(cv2.imencode(".jpg", np.zeros((28, 28), np.uint8))[1].tobytes())
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(whole)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_of_another_size_is_refused_before_it_takes_memory(
    kind, tmp_path, monkeypatch
):
    data = huge(kind)
    assert image_size(data) == (30_000, 30_000)
    examples = [{"image": data, "label": 1}]
    store(tmp_path, PREPARED["mnist"], examples)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(DataError, match=r"\(30000, 30000\), expected \(28, 28\)"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((14, 56), np.uint8), r"an image of \(14, 56\)"),
        (np.full((28, 28), 60_000, np.uint16), r"uint16\[28, 28, 1\]"),
        (np.zeros((28, 28, 3), np.uint8), r"uint8\[28, 28, 3\]"),
        (np.zeros((28, 28, 4), np.uint8), r"uint8\[28, 28, 4\]"),
    ],
)
def test_no_image_is_cast(image, says, tmp_path):
    store(tmp_path, PREPARED["mnist"], [{"image": png(image), "label": 1}])
    with pytest.raises(DataError, match=says):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("extension", [".bmp", ".tiff", ".webp", ".pgm"])
def test_no_format_but_png_and_jpeg_is_decoded(extension):
    data = cv2.imencode(extension, np.zeros((28, 28), np.uint8))[1].tobytes()
    with pytest.raises(ValueError, match="example 0 is neither a PNG nor a JPEG"):
        decode_images([data], (28, 28, 1))


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_an_image_cut_short_or_changed_is_refused_or_of_its_shape(extension):
    whole = cv2.imencode(extension, np.arange(784).reshape(28, 28) % 251)[1].tobytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 200):
        changed = whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]
        for data in (whole[:at], changed):
            try:
                images = decode_images([data], (28, 28, 1))
            except ValueError:
                continue
            assert images.shape == (1, 28, 28, 1)


BAD_VALUES = [
    ("mnist", "label", 77),
    ("mnist", "label", 10),
    ("mnist", "label", -1),
    ("mnist", "label", 2**32 + 3),
    ("omniglot", "label", 1_623),
    ("dsprites", "label_shape", 3),
    ("shapes3d", "label_orientation", -1),
    ("binarized_mnist", "image", png(np.full((28, 28), 255, np.uint8))),
    ("20newsgroups", "counts", zlib.compress(bytes(1_994 * 2))),
    ("20newsgroups", "counts", zlib.compress(bytes(1_995 * 4))),
    ("20newsgroups", "counts", zlib.compress(bytes(1_995 * 2))[:-4]),
    ("20newsgroups", "counts", b"counts"),
    ("20newsgroups", "counts", 7),
    ("cifar10", "label", b"7"),
    ("svhn_cropped", "image", 7),
]


@pytest.mark.parametrize(("name", "feature", "value"), BAD_VALUES, ids=range(15))
def test_a_value_out_of_its_range_is_refused(name, feature, value, tmp_path):
    stored = small(name)
    store(tmp_path, stored, [row | {feature: value} for row in rows(stored)])
    kind = {"image": "pixels|image"}.get(feature, feature)
    with pytest.raises(DataError, match=f"is damaged .*({kind})"):
        read(stored, tmp_path)


def test_a_feature_that_is_absent_or_twice_there_is_refused(tmp_path):
    (row,) = rows(PREPARED["mnist"], 1)
    store(tmp_path, PREPARED["mnist"], [{"image": row["image"]}])
    with pytest.raises(DataError, match="example 0 has 0 values of label"):
        load("mnist", data_dir=tmp_path)


def test_packed_counts_are_never_unpacked_beyond_their_size(tmp_path):
    store(tmp_path, PREPARED["20newsgroups"], [{"counts": zlib.compress(bytes(2**23))}])
    tracemalloc.start()
    with pytest.raises(DataError, match="counts are not those of 1,995 words"):
        load("20newsgroups", data_dir=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_an_example_is_no_larger_than_its_image_can_make_it(tmp_path):
    (row,) = rows(PREPARED["mnist"], 1)
    store(tmp_path, PREPARED["mnist"], [row | {"more": bytes(2**14)}])
    load("mnist", data_dir=tmp_path)
    store(tmp_path, PREPARED["mnist"], [row | {"more": bytes(2**20)}])
    with pytest.raises(DataError, match="an example has more than 17,952 bytes"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{}",
        "[]",
        '{"words": "words"}',
        '{"words": ["one"]}',
        json.dumps({"words": [[]] * 1_995}),
        "\xff",
    ],
    ids=range(7),
)
def test_words_are_words(text, tmp_path):
    folder = store(tmp_path, PREPARED["20newsgroups"])
    (folder / "metadata.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"metadata.json"):
        load("20newsgroups", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_words_are_in_a_file_of_their_size(kind, tmp_path):
    path = store(tmp_path, PREPARED["20newsgroups"]) / "metadata.json"
    path.unlink()
    endless(path, kind)
    with pytest.raises(
        DataError, match=r"metadata.json.*(not a regular file|more than)"
    ):
        load("20newsgroups", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
@pytest.mark.parametrize("read_file", [read_json, read_lines])
def test_a_file_of_a_run_is_read_if_it_can_be_one(kind, read_file, tmp_path):
    endless(tmp_path / "some.json", kind)
    with pytest.raises(VaejaxError, match=r"some.json.*(not a regular file|more than)"):
        read_file(tmp_path / "some.json")


def endless(path: Path, kind: str) -> None:
    """A file that keeps its reader waiting, or fills the memory."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**31)


def test_few_records_are_read_where_they_are_too_long(tmp_path, monkeypatch):
    """The rule holds even where the first records are as they should be."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    seen: list[int] = []

    def counting(source, keys, read=ArrayRecordDataSource.__getitems__):
        found = read(source, keys)
        seen.append(sum(len(record) for record in found))
        return found

    monkeypatch.setattr(ArrayRecordDataSource, "__getitems__", counting)
    good = rows(PREPARED["mnist"], 150)
    long = [row | {"more": bytes(2**18)} for row in good]
    for examples, most in ((long, 2**19), (good + long, 2**26)):
        store(tmp_path, PREPARED["mnist"], examples)
        seen.clear()
        with pytest.raises(DataError, match="more than 17,952 bytes"):
            load("mnist", data_dir=tmp_path)
        assert sum(seen) < most


def test_a_home_that_is_none_is_a_folder_without_data():
    with pytest.raises(DataError, match="nothing at ~nobody-of-this-name/data/mnist"):
        load("mnist", data_dir="~nobody-of-this-name/data")
