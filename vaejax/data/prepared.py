"""Read data sets prepared by TFDS or `vaejax.data.builders`, without TensorFlow.

A folder's features.json and dataset_info.json name classes to import, files to open and
lengths to allocate. Neither file is read: `Stored` gives a set's features, the names in
the folder give its shards of array_record, and every value is checked against both.

Records are read a few MiB at a time, the first one alone, and checked before the next:
no more is unpacked of a set whose records are too long. array_record unpacks a record,
or a group of records that were compressed together, whole, and gives no length before:
a small file whose single record unpacks to gigabytes takes this memory.

MNIST's 60,000 training images take about 2.5 s on two cores.
"""

import contextlib
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core import VaejaxError, record
from vaejax.data.files import read_small
from vaejax.data.images import decode_images
from vaejax.data.sources import SOURCES
from vaejax.data.splits import draw_split
from vaejax.data.types import DataError, ImageData

BATCH = 2**21  # bytes that the examples read at a time may take
OTHER_FEATURES = 2**14  # bytes that an example's other features may take
LARGEST_WORDS = 2**24  # bytes of metadata.json
VERSION = re.compile(r"\d+\.\d+\.\d+")


@record
class Stored:
    """The form of a data set in TFDS, and its conversion to `ImageData`."""

    name: str
    shape: tuple[int, ...]  # H, W, C of images; V of documents
    levels: int = 256  # number of levels of a pixel, from 0
    num_classes: int | None = None  # number of classes, if the set has labels
    convert: Callable[[np.ndarray], np.ndarray] | None = None  # applied to each image
    factors: tuple[tuple[str, int], ...] = ()  # NAME of the feature label_NAME, size
    # Numbers of images drawn from the only split, "train", for training and test.
    drawn: tuple[int, int] | None = None


def read_prepared(stored: Stored, split: str, data_dir: Path) -> ImageData:
    """Return a split of the newest version of a set prepared under `data_dir`.

    Raises:
        DataError: it is not prepared there, damaged, or in another format or shape.
    """
    name = stored.name
    folder = find_prepared(name, data_dir, "train" if stored.drawn else split)
    try:
        return _read(stored, folder, split)
    except VaejaxError as error:
        raise DataError(
            f"{folder} cannot be used: {error}. "
            f"Prepare {name} in another folder, with "
            + ("--data-dir" if name in SOURCES else how_to_prepare(name, "DIR"))
        ) from error
    except ValueError as error:
        raise DataError(
            f"{folder} is damaged ({error}). Remove it, and prepare it again: "
            f"{how_to_prepare(name, data_dir)} --overwrite"
        ) from error


def how_to_prepare(name: str, data_dir: Path | str) -> str:
    """The command of vaejax that prepares a data set, or TFDS's (needs TensorFlow)."""
    if name in SOURCES:
        return f"python -m experiments.prepare_data {name} --data-dir {data_dir}"
    return (
        "(where TensorFlow is installed) "
        f"tfds build {name} --data_dir {data_dir} --file_format array_record"
    )


def find_prepared(name: str, data_dir: Path, split: str) -> Path:
    """Return the folder of the newest prepared version, of any configuration.

    A version that has all files of the split precedes versions that lack some.

    Raises:
        DataError: there is none; with the command that prepares it.
    """
    root = data_dir / name
    folders = [
        path
        for pattern in ("*", "*/*")
        for path in root.glob(pattern)
        if VERSION.fullmatch(path.name) and path.is_dir() and any(path.iterdir())
    ]
    if not folders:
        raise DataError(
            f"{name} is not prepared: nothing at {root}. Prepare it: "
            + how_to_prepare(name, data_dir)
            + " (add --raw-dir DIR if you have its files)" * (name in SOURCES)
        )

    def rank(path: Path) -> tuple[bool, list[int]]:
        return _has_shards(name, path, split), [int(n) for n in path.name.split(".")]

    return max(folders, key=rank)


def _has_shards(name: str, folder: Path, split: str) -> bool:
    try:
        return all(shard.stat().st_size for shard in _shards(name, folder, split))
    except (ValueError, DataError):
        return False


def _read(stored: Stored, folder: Path, split: str) -> ImageData:
    """Read a split, or raise ValueError with the reason if a file is invalid."""
    records = _records(stored, folder, split)
    if len(stored.shape) == 1:
        packed = _columns(records, {"counts": "bytes_list"})["counts"]
        counts = np.stack([_counts(data, *stored.shape) for data in packed])
        return ImageData(counts, None, words=_words(folder, *stored.shape))
    sizes = {f"label_{name}": size for name, size in stored.factors}
    if stored.num_classes is not None:
        sizes["label"] = stored.num_classes
    kinds = {"image": "bytes_list"} | dict.fromkeys(sizes, "int64_list")
    columns = _columns(records, kinds)
    images = decode_images(columns["image"], stored.shape, stored.convert)
    _check_within("pixels", images, stored.levels)
    labels = {name: _labels(name, columns[name], size) for name, size in sizes.items()}
    if stored.factors:
        factors = np.stack([*labels.values()], -1)
        return ImageData(images, labels["label_shape"], factors)
    return ImageData(images, labels.get("label"))


def _records(stored: Stored, folder: Path, split: str) -> list[bytes]:
    """Read the examples of a split, each a protocol buffer."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    shards = _shards(stored.name, folder, "train" if stored.drawn else split)
    with _damage_of_any_kind():
        source = ArrayRecordDataSource([str(path) for path in shards])
        count = len(source)
    chosen: Sequence[int] = range(count)
    if stored.drawn:
        chosen = draw_split(stored.name, split, *stored.drawn, count).tolist()
    if not len(chosen):
        raise ValueError(f"its split {split} is empty")
    longest = 2 * int(np.prod(stored.shape)) + OTHER_FEATURES
    records: list[bytes] = []
    edges = [0, *range(1, len(chosen), max(1, BATCH // longest)), len(chosen)]
    for start, end in itertools.pairwise(edges):  # in parts: shards are compressed
        with _damage_of_any_kind():
            batch = source.__getitems__(chosen[start:end])
        if max(map(len, batch)) > longest:
            raise ValueError(f"an example has more than {longest:,} bytes")
        records += batch
    return records


def _shards(name: str, folder: Path, split: str) -> list[Path]:
    """The paths of all files of a split, from the file names in the folder alone."""
    stem = f"{name}-{split}."
    found = sorted(path.name for path in folder.glob(stem + "*") if path.is_file())
    shards = [file for file in found if file.startswith(stem + "array_record-")]
    if found and not shards:
        raise DataError(f"it is stored as {found[0]!r}, not as array_record")
    count = max(1, len(shards))
    expected = [f"{stem}array_record-{i:05}-of-{count:05}" for i in range(count)]
    if missing := sorted({*expected} - {*shards}):
        raise ValueError(f"it has no file {missing[0]}")
    return [folder / file for file in expected]


def _columns(records: Iterable[bytes], kinds: dict[str, str]) -> dict[str, list[Any]]:
    """The value of each feature in every example, by the feature's name."""
    from tensorflow_datasets.proto import tf_example_pb2

    columns: dict[str, list[Any]] = {name: [] for name in kinds}
    for i, data in enumerate(records):
        with _damage_of_any_kind():
            features = tf_example_pb2.Example.FromString(data).features.feature
        for name, kind in kinds.items():
            values = getattr(features[name], kind).value
            if len(values) != 1:
                raise ValueError(
                    f"example {i} has {len(values)} values of {name} in its {kind}, "
                    "expected one"
                )
            columns[name].append(values[0])
    return columns


@contextlib.contextmanager
def _damage_of_any_kind() -> Iterator[None]:
    """Raise errors of array_record and protobuf as ValueError, except MemoryError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(reason) from error


def _labels(name: str, values: list[int], count: int) -> np.ndarray:
    labels = np.array(values, np.int64)
    _check_within(name, labels, count)
    return labels.astype(np.int32)


def _check_within(name: str, values: np.ndarray, count: int) -> None:
    low, high = values.min(), values.max()
    if low < 0 or high >= count:
        raise ValueError(
            f"{name} go from {low} to {high}, expected integers from 0 to {count - 1}"
        )


def _counts(packed: bytes, size: int) -> np.ndarray:
    """Unpack a document's counts of `size` words, uint16, and no further bytes."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, 2 * size + 1)
    except zlib.error as error:
        raise ValueError(f"counts are broken ({error})") from error
    if len(content) != 2 * size or not stream.eof:
        raise ValueError(f"counts are not those of {size:,} words")
    return np.frombuffer(content, "<u2")


def _words(folder: Path, count: int) -> tuple[str, ...]:
    try:
        words = json.loads(read_small(folder / "metadata.json", LARGEST_WORDS))["words"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"metadata.json holds no words: {reason}") from error
    if not (
        isinstance(words, list)
        and len(words) == count
        and all(isinstance(word, str) for word in words)
    ):
        raise ValueError(f"metadata.json does not hold {count:,} words")
    return tuple(words)
