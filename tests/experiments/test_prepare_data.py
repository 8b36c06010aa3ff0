"""Preparation: the published pixels, or one clear message; all of it, or nothing."""

import dataclasses
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from experiments.prepare_data import Config, run
from vaejax.core import UnknownNameError
from vaejax.data import DATASETS, DataError, ImageData, load
from vaejax.data.formats import (
    read_amat,
    read_chardata,
    read_counts,
    read_idx,
    read_mat,
    read_words,
)
from vaejax.data.prepare import prepare
from vaejax.data.prepared import find_prepared
from vaejax.data.raw import OWNERS, read_raw
from vaejax.data.sources import (
    BINARIZED_MNIST,
    FASHION_MNIST,
    FREY_FACES,
    KMNIST,
    MNIST,
    NEWSGROUPS,
    OMNIGLOT_28X28,
    SOURCES,
    Source,
    amat_file,
    chardata_splits,
    idx_files,
)

pytestmark = pytest.mark.slow

TRAIN, TEST = 12, 5  # examples in the small sets
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (TRAIN + TEST, 28, 28), dtype=np.uint8)
BINARY = GREY // 128
LABELS = RNG.integers(0, 10, TRAIN + TEST, dtype=np.uint8)
COUNTS = RNG.poisson(0.02, (TRAIN + TEST, 1995)).astype(np.uint16)
SHARD = "mnist-train.array_record-00000-of-00001"
COUNTS[0], COUNTS[1, 7] = 0, 549  # without words; more of one than a byte holds


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def amat_bytes(array: np.ndarray) -> bytes:
    lines = (" ".join(map(str, row)) for row in array.reshape(len(array), -1))
    return "".join(line + "\n" for line in lines).encode()


def mat_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"ff": array.reshape(len(array), -1).T})
    return buffer.getvalue()


def chardata_bytes(train: np.ndarray, test: np.ndarray) -> bytes:
    """A file like Burda et al.'s: MATLAB goes through a matrix column by column."""

    def columns(images: np.ndarray) -> np.ndarray:
        return np.stack([image.ravel(order="F") for image in images / 255], 1)

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"data": columns(train), "testdata": columns(test)})
    return buffer.getvalue()


def feat_bytes(counts: np.ndarray) -> bytes:
    pairs = ([f"{w + 1}:{row[w]}" for w in np.flatnonzero(row)] for row in counts)
    return "".join(" ".join(["1", *some]) + "\n" for some in pairs).encode()


def vocabulary_bytes(count: int) -> bytes:
    return "".join(f"word{i} 0 \n" for i in range(count)).encode()


def small(source: Source) -> tuple[Source, dict[str, bytes]]:
    """Return `source` with a few examples, and its raw files."""
    if source is BINARIZED_MNIST:
        counts = {"train": TRAIN, "valid": TEST, "test": TEST}
        files = tuple(amat_file(part, count) for part, count in counts.items())
        content = [amat_bytes(BINARY[: f.shape[0]]) for f in files]
    elif source is FREY_FACES:
        files = (dataclasses.replace(source.files[0], shape=(TRAIN, 28, 20)),)
        content = [mat_bytes(GREY[:TRAIN, :, :20])]
    elif source is OMNIGLOT_28X28:
        read = partial(read_chardata, num_test=TEST)
        shape = (TRAIN + TEST, 28, 28)
        files = (dataclasses.replace(source.files[0], shape=shape, parse=read),)
        content = [chardata_bytes(GREY[:TRAIN], GREY[TRAIN:])]
        assemble = partial(chardata_splits, num_test=TEST)
        source = dataclasses.replace(source, assemble=assemble)
    elif source is NEWSGROUPS:
        shapes = (TRAIN, 1995), (TEST, 1995), (1995,)
        files = tuple(
            dataclasses.replace(file, shape=shape, content_sha256=None)
            for file, shape in zip(source.files, shapes, strict=True)
        )
        content = [feat_bytes(COUNTS[:TRAIN]), feat_bytes(COUNTS[TRAIN:])]
        content.append(vocabulary_bytes(1995))
    else:
        files = idx_files(train=TRAIN, test=TEST)
        parts = (GREY[:TRAIN], LABELS[:TRAIN], GREY[TRAIN:], LABELS[TRAIN:])
        content = [gzip.compress(idx_bytes(part)) for part in parts]
    names = [file.name for file in files]
    return dataclasses.replace(source, files=files), dict(
        zip(names, content, strict=True)
    )


def write(folder: Path, content: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def bag(data: ImageData) -> Counter:
    """Count the examples, whatever their order, images and labels together."""
    labels = [None] * len(data.images) if data.labels is None else data.labels.tolist()
    images = (hashlib.sha256(image.tobytes()).digest() for image in data.images)
    return Counter(zip(images, labels, strict=True))


def read_back(name: str, split: str, data_dir: Path) -> ImageData:
    return DATASETS[name]().read(split, data_dir)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return the root of a small prepared MNIST."""
    source, content = small(MNIST)
    prepare(source, write(tmp_path / "raw", content), tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_what_is_prepared_is_what_the_raw_files_hold(source, tmp_path):
    source, content = small(source)
    raw = write(tmp_path / "raw" / source.name, content).parent  # a folder a set
    path = prepare(source, raw, tmp_path)
    assert path == tmp_path / source.name / source.version
    expected = read_raw(source, raw)
    assert tuple(sorted(expected)) == tuple(sorted(DATASETS[source.name]().splits))
    for split, data in expected.items():
        assert bag(read_back(source.name, split, tmp_path)) == bag(data)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["raw", source.name])
    assert "tensorflow" not in sys.modules


def test_raw_files_are_read_compressed_or_not(tmp_path):
    source, content = small(KMNIST)
    plain = {k.removesuffix(".gz"): gzip.decompress(v) for k, v in content.items()}
    first = read_raw(source, write(tmp_path / "gz", content))
    second = read_raw(source, write(tmp_path / "plain", plain))
    for split in first:
        np.testing.assert_array_equal(first[split].images, second[split].images)
    np.testing.assert_array_equal(first["train"].images[..., 0], GREY[:TRAIN])
    np.testing.assert_array_equal(first["test"].labels, LABELS[TRAIN:])


def test_plain_tfds_reads_what_we_prepared(prepared):
    import tensorflow_datasets as tfds

    rows = tfds.data_source("mnist", split="test", data_dir=prepared)
    assert len(rows) == TEST
    assert rows[0]["image"].shape == (28, 28, 1)


def test_frey_faces_are_split_1565_200_200():
    counts = np.arange(1965 * 560, dtype=np.uint32).reshape(1965, 28, 20)
    splits = FREY_FACES.assemble(counts)
    sizes = {name: len(data.images) for name, data in splits.items()}
    assert sizes == {"train": 1565, "validation": 200, "test": 200}
    everything = np.concatenate([data.images for data in splits.values()])
    np.testing.assert_array_equal(np.sort(everything.ravel()), counts.ravel())


def test_omniglot_keeps_its_pixels_and_its_split(tmp_path):
    source, content = small(OMNIGLOT_28X28)
    splits = read_raw(source, write(tmp_path, content))
    np.testing.assert_array_equal(splits["train"].images[..., 0], GREY[:TRAIN])
    np.testing.assert_array_equal(splits["test"].images[..., 0], GREY[TRAIN:])
    published = OMNIGLOT_28X28.assemble(np.zeros(OMNIGLOT_28X28.files[0].shape))
    sizes = {name: len(data.images) for name, data in published.items()}
    assert sizes == {"train": 24_345, "test": 8_070}


def test_documents_keep_their_words_and_those_without_are_left_out(tmp_path):
    source, content = small(NEWSGROUPS)
    prepare(source, write(tmp_path / "raw", content), tmp_path)
    data = load("20newsgroups", data_dir=tmp_path)
    assert data.images.dtype == np.uint16
    assert bag(data) == bag(ImageData(COUNTS[1:TRAIN], None))
    assert data.words == tuple(f"word{i}" for i in range(1995))


@pytest.mark.parametrize(
    ("read", "data", "says"),
    [
        (read_counts, b"1 2:1\n", "1 lines, expected 2"),
        (read_counts, b"1 2:1\n1 2\n", "line 2 is not a label and pairs"),
        (read_counts, b"1 2:1.5\n1\n", "line 1 is not a label and pairs"),
        (read_counts, b"1 0:1\n1\n", "line 1 does not name words from 1 to 3"),
        (read_counts, b"1\n1 4:1\n", "line 2 does not name words from 1 to 3"),
        (read_counts, b"1 2:1 2:3\n1\n", "each once"),
        (read_counts, b"1 2:70000\n1\n", "from 1 to 65,535"),
        (read_words, b"one 0\n", "1 lines, expected 2"),
        (read_words, b"one 0\ntwo\n", "line 2 is not a word and 0"),
        (read_words, b"one 0\none 0\n", "twice"),
    ],
)
def test_damaged_documents_are_refused_with_the_reason(read, data, says):
    with pytest.raises(ValueError, match=says):
        read(data, (2, 3))


IDX, AMAT, MAT = idx_bytes(GREY), amat_bytes(BINARY), mat_bytes(GREY)
CHARDATA = chardata_bytes(GREY[:TRAIN], GREY[TRAIN:])
read_small_chardata = partial(read_chardata, num_test=TEST)


@pytest.mark.parametrize(
    ("read", "data", "says"),
    [
        (read_idx, b"", "begins with nothing"),
        (read_idx, IDX[:10], "truncated"),
        (read_idx, IDX[:-1], "truncated"),
        (read_idx, IDX + b"0", "too long"),
        (read_idx, idx_bytes(LABELS), "3 dimension"),
        (read_idx, idx_bytes(GREY[1:]), "header says shape"),
        (read_amat, AMAT[:-1], "truncated"),
        (read_amat, AMAT.replace(b"1", b"2", 1), "line 1 is not 784 digits"),
        (read_amat, AMAT[:-1] + b" ", f"line {TRAIN + TEST} is not"),
        (read_mat, b"", "it is not a MATLAB 5 file"),
        (read_mat, MAT[: len(MAT) // 2], "it is not a MATLAB 5 file"),
        (read_mat, mat_bytes(GREY[1:]), "expected uint8"),
        (read_mat, mat_bytes(GREY / 255), "expected uint8"),
        (
            read_small_chardata,
            MAT,
            "it is not a MATLAB 5 file with exactly one variable data",
        ),
        (read_small_chardata, chardata_bytes(GREY[1:], GREY), "expected double"),
        (
            read_small_chardata,
            chardata_bytes(3.0 * GREY[:TRAIN], GREY[TRAIN:]),
            "expected 0 to 1",
        ),
    ],
)
def test_damaged_raw_data_is_refused_with_the_reason(read, data, says):
    with pytest.raises(ValueError, match=says):
        read(data, GREY.shape)


def test_raw_data_reads_back():
    np.testing.assert_array_equal(read_idx(IDX, GREY.shape), GREY)
    np.testing.assert_array_equal(read_amat(AMAT, GREY.shape), BINARY)
    np.testing.assert_array_equal(read_mat(MAT, GREY.shape), GREY)
    np.testing.assert_array_equal(read_small_chardata(CHARDATA, GREY.shape), GREY)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def bad_label(data: bytes) -> bytes:
    return gzip.decompress(data)[:-1] + b"\x0a"


@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize("damage", [cut, flip, bad_label, lambda data: b"<html>"])
def test_a_damaged_file_is_named_and_leaves_nothing(damage, position, tmp_path):
    if damage is bad_label and position == 0:
        position = 1
    source, content = small(FASHION_MNIST)
    name = source.files[position].name
    content[name] = damage(content[name])
    raw = write(tmp_path / "raw", content)
    with pytest.raises(DataError, match=name):
        prepare(source, raw, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path):
    source, content = small(MNIST)
    raw = write(tmp_path, content)
    first = dataclasses.replace(source.files[0], content_sha256="0" * 64)
    other = dataclasses.replace(source, files=(first, *source.files[1:]))
    with pytest.raises(DataError, match="SHA-256 is"):
        read_raw(other, raw)


def test_files_of_another_set_are_refused(tmp_path, monkeypatch):
    source, content = small(KMNIST)
    digest = hashlib.sha256(idx_bytes(LABELS[TRAIN:])).hexdigest()
    monkeypatch.setitem(OWNERS, digest, "mnist")
    with pytest.raises(DataError, match="is a file of mnist, not of kmnist"):
        read_raw(source, write(tmp_path, content))


def test_every_missing_file_is_named(tmp_path):
    source, content = small(MNIST)
    names = list(content)
    with pytest.raises(DataError, match=f"{names[1]}, {names[3]}. Fetch"):
        read_raw(source, write(tmp_path, {n: content[n] for n in names[::2]}))
    with pytest.raises(DataError, match="does not exist"):
        read_raw(source, tmp_path / "nowhere")


def test_downloads_are_checked(tmp_path):
    source, content = small(KMNIST)
    url = write(tmp_path, content).as_uri() + "/"
    read_raw(dataclasses.replace(source, base_url=url), None)
    first = dataclasses.replace(source.files[0], download_sha256="0" * 64)
    with pytest.raises(DataError, match="SHA-256 is"):
        read_raw(dataclasses.replace(source, base_url=url, files=(first,)), None)
    with pytest.raises(DataError, match=r"could not download .* --raw-dir"):
        read_raw(dataclasses.replace(source, base_url=url + "no/"), None)


def test_prepared_data_is_replaced_only_when_asked(prepared):
    source, content = small(MNIST)
    raw = write(prepared.parent / "raw", content)
    with pytest.raises(DataError, match=r"already prepared .* --overwrite"):
        prepare(source, raw, prepared)
    damaged = prepared / "mnist/3.0.1/dataset_info.json"
    damaged.write_text("{")
    prepare(source, raw, prepared, overwrite=True)
    assert len(read_back("mnist", "test", prepared).images) == TEST
    assert [p.name for p in prepared.iterdir()] == ["mnist"]


def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    from vaejax.data import builders

    def fail(image):
        raise KeyboardInterrupt

    monkeypatch.setattr(builders, "_png", fail)
    source, content = small(MNIST)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, write(tmp_path / "raw", content), tmp_path / "a" / "data")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("is_killed", [True, False])
def test_what_is_prepared_stays_until_another_is_in_its_place(
    is_killed, prepared, monkeypatch
):
    """A process fails, or is killed, after it moved the old one and before the new."""
    source, content = small(MNIST)
    raw = write(prepared.parent / "raw", content)
    final = prepared / "mnist/3.0.1"
    before = {path.name: path.read_bytes() for path in final.iterdir()}
    rename = Path.rename

    def fail(path, target):
        if path.parent.parent.name == ".preparing_mnist" and target == final:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(DataError, match="No space left"):
            prepare(source, raw, prepared, overwrite=True)
    if is_killed:
        (prepared / ".preparing_mnist").mkdir()
        final.rename(prepared / ".preparing_mnist" / "replaced")
        monkeypatch.setattr("vaejax.data.builders._png", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, raw, prepared, overwrite=True)
    assert {path.name: path.read_bytes() for path in final.iterdir()} == before
    assert [path.name for path in prepared.iterdir()] == ["mnist"]


def _interrupt(image):
    raise KeyboardInterrupt


def test_an_empty_folder_of_a_newer_version_is_none(prepared):
    (prepared / "mnist" / "9.0.0").mkdir()
    assert find_prepared("mnist", prepared, "test") == prepared / "mnist" / "3.0.1"
    assert len(read_back("mnist", "test", prepared).images) == TEST


@pytest.mark.parametrize(
    "file", ["anything", SHARD, SHARD.replace("train", "test"), "mnist-train.tfrecord"]
)
def test_a_newer_version_without_the_split_is_passed_over(file, prepared):
    (prepared / "mnist" / "99.0.0").mkdir()
    (prepared / "mnist" / "99.0.0" / file).touch()
    for split, count in (("train", TRAIN), ("test", TEST)):
        assert len(load("mnist", split, data_dir=prepared).images) == count
    shutil.rmtree(prepared / "mnist" / "3.0.1")
    with pytest.raises(DataError, match=r"99\.0\.0 (is damaged.*Remove it|cannot be)"):
        load("mnist", data_dir=prepared)


def test_what_a_killed_run_left_is_cleared_and_a_running_one_is_respected(tmp_path):
    source, content = small(MNIST)
    raw, data = write(tmp_path / "raw", content), tmp_path / "data"
    stale = write(data / ".preparing_mnist/mnist/incomplete.A_3.0.1", {"x": b"half"})
    lock = os.open(data / ".preparing_mnist", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another process"):
        prepare(source, raw, data)
    assert stale.exists()
    os.close(lock)  # as the end of its process does
    prepare(source, raw, data)
    assert [p.name for p in data.iterdir()] == ["mnist"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    source, content = small(MNIST)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write mnist under .*file"):
        prepare(source, write(tmp_path / "raw", content), tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (SHARD, lambda data: data[: len(data) - 65536]),
        (SHARD, cut),
        (SHARD, lambda data: data[:3000] + flip(data[3000:4000]) + data[4000:]),
        (SHARD, None),
    ],
)
def test_damaged_prepared_data_says_how_to_prepare_it_again(file, damage, prepared):
    path = prepared / "mnist/3.0.1" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"is damaged .* --overwrite") as caught:
        load("mnist", data_dir=prepared)
    assert str(path.parent) in str(caught.value)


def test_the_newest_version_of_any_configuration_is_read(prepared):
    shutil.copytree(prepared / "mnist/3.0.1", prepared / "mnist/own_config/10.0.0")
    shutil.rmtree(prepared / "mnist/3.0.1")
    (prepared / "mnist/2.0.0").mkdir()
    (prepared / "mnist/incomplete.X_11.0.0").mkdir()
    assert len(load("mnist", data_dir=prepared).images) == TRAIN


def test_prepared_data_of_another_shape_is_refused(prepared):
    folder = (prepared / "mnist").rename(prepared / "frey_faces") / "3.0.1"
    shard = folder / "mnist-test.array_record-00000-of-00001"
    shard.rename(shard.with_name(shard.name.replace("mnist", "frey_faces")))
    with pytest.raises(DataError, match=r"\(28, 28\), expected \(28, 20\) pixels"):
        load("frey_faces", "test", data_dir=prepared)


def test_run_refuses_unknown_names():
    with pytest.raises(UnknownNameError, match=r"use one of .*fashion_mnist.*kmnist"):
        run(Config(name="cifar"))
    with pytest.raises(UnknownNameError, match="use the data set without preparation"):
        run(Config(name="digits"))
    with pytest.raises(UnknownNameError, match=r"TensorFlow.* tfds build cifar10"):
        run(Config(name="cifar10"))


def test_command_line_prints_one_message_and_exits_2(tmp_path):
    command = [sys.executable, "-m", "experiments.prepare_data", "mnist"]
    command += ["--raw-dir", str(tmp_path / "nowhere"), "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(tmp_path / "nowhere") in done.stderr


@pytest.mark.parametrize("source", [MNIST, BINARIZED_MNIST], ids=lambda s: s.name)
def test_our_preparation_and_that_of_tfds_give_the_same_examples(source, tmp_path):
    from vaejax.data.builders import build

    raw, theirs = os.environ.get("VAEJAX_RAW_DIR"), os.environ.get("TFDS_DATA_DIR")
    if not raw or not theirs:
        pytest.skip("$VAEJAX_RAW_DIR and $TFDS_DATA_DIR give no published data")
    splits = read_raw(source, Path(raw))
    bags = {s: bag(read_back(source.name, s, Path(theirs))) for s in splits}
    for split, data in splits.items():
        assert bag(data) == bags[split]
    build(source, {"test": splits["test"]}, tmp_path)
    assert bag(read_back(source.name, "test", tmp_path)) == bags["test"]
    # Negative control: one pixel makes the difference.
    images = splits["test"].images.copy()
    images[0, 0, 0, 0] ^= 1
    assert bag(splits["test"]._replace(images=images)) != bags["test"]


def test_the_published_frey_faces_are_read(tmp_path):
    raw = os.environ.get("VAEJAX_RAW_DIR")
    if not raw:
        pytest.skip("$VAEJAX_RAW_DIR gives no published data")
    prepare(FREY_FACES, Path(raw), tmp_path)
    data = load("frey_faces", "test", data_dir=tmp_path)
    assert data.images.shape == (200, 28, 20, 1)
    assert 50 < data.images.mean() < 200


def test_the_published_newsgroups_are_read():
    raw = os.environ.get("VAEJAX_RAW_DIR")
    if not raw:
        pytest.skip("$VAEJAX_RAW_DIR gives no published data")
    splits = read_raw(NEWSGROUPS, Path(raw) / "20news")
    counts = {split: data.images for split, data in splits.items()}
    assert {split: len(some) for split, some in counts.items()} == {
        "train": 11_258,
        "test": 7_487,
    }
    words = splits["test"].words
    assert words is not None
    # The words are in the order of how often they come up, but for the first.
    assert words[:3] == ("_eos_", "write", "one")
    assert counts["train"].sum(0).argmax() == 1
