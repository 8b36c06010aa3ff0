"""Read what TFDS, or our own builders, prepared: `tfds.data_source`, no TensorFlow.

Records are parsed by TFDS and their PNGs decoded by OpenCV in bulk: MNIST's 60,000
training images take about 3.5 s on two cores, against 5.6 s through TFDS's decoder.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core import VaejaxError, record
from vaejax.data.sources import SOURCES
from vaejax.data.splits import draw_split
from vaejax.data.types import DataError, ImageData

VERSION = re.compile(r"\d+\.\d+\.\d+")
CLASS_NAMES = ("pythonClassName", "python_class_name", "type")


@record
class Stored:
    """What TFDS holds of a data set, and how we give it."""

    name: str
    shape: tuple[int, ...]  # H, W, C of its images; V of its documents
    convert: Callable[[np.ndarray], np.ndarray] | None = None  # an image, to ours
    factor_names: tuple[str, ...] = ()  # each the feature label_NAME
    # How many images of its only split, "train", are drawn for training and test.
    drawn: tuple[int, int] | None = None


def read_prepared(stored: Stored, split: str, data_dir: Path) -> ImageData:
    """Return a split of the newest version of a set prepared under `data_dir`.

    Raises:
        DataError: it is not prepared there, damaged, or in another format or shape.
    """
    name = stored.name
    folder = find_prepared(name, data_dir)
    try:
        return _read(stored, folder, split)
    except VaejaxError as error:
        raise DataError(
            f"{folder} cannot be used: {error}. "
            f"Prepare {name} in another folder, with "
            + ("--data-dir" if name in SOURCES else how_to_prepare(name, "DIR"))
        ) from error
    except Exception as error:  # TFDS, protobuf and array_record raise what they like
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{folder} is damaged ({reason}). Prepare it again: "
            f"{how_to_prepare(name, data_dir)} --overwrite"
        ) from error


def how_to_prepare(name: str, data_dir: Path | str) -> str:
    """The command that prepares a data set: ours, or TFDS's, which needs TensorFlow."""
    if name in SOURCES:
        return f"python -m experiments.prepare_data {name} --data-dir {data_dir}"
    return (
        "(where TensorFlow is installed) "
        f"tfds build {name} --data_dir {data_dir} --file_format array_record"
    )


def find_prepared(name: str, data_dir: Path) -> Path:
    """Return the folder of the newest prepared version, of any configuration.

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
    return max(folders, key=lambda path: [int(n) for n in path.name.split(".")])


def _read(stored: Stored, folder: Path, split: str) -> ImageData:
    import tensorflow_datasets as tfds

    json.loads(
        (folder / "features.json").read_text(), object_pairs_hook=_refuse_foreign_code
    )
    builder = tfds.builder_from_directory(folder)
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise DataError(f"it is stored as {file_format}, not as array_record")
    feature = "image" if len(stored.shape) == 3 else "counts"
    if (found := builder.info.features[feature].shape) != stored.shape:
        kind = "images" if feature == "image" else feature
        raise DataError(f"its {kind} are {found}, not {stored.shape}")
    source = "train" if stored.drawn else split
    if source not in builder.info.splits:
        raise DataError(f"it has no split {source!r}, only {list(builder.info.splits)}")
    if feature == "counts":
        documents = builder.as_data_source(split=split)
        rows = documents.__getitems__(range(len(documents)))
        words = tuple(builder.info.metadata["words"])
        return ImageData(np.stack([row["counts"] for row in rows]), None, words=words)
    skip = {"image": tfds.decode.SkipDecoding()}
    rows = builder.as_data_source(split=source, decoders=skip)
    chosen = (
        draw_split(stored.name, split, *stored.drawn, len(rows)).tolist()
        if stored.drawn
        else range(len(rows))
    )
    examples = rows.__getitems__(chosen)

    def column(feature: str) -> np.ndarray:
        return np.array([example[feature] for example in examples], np.int32)

    images = _decode([example["image"] for example in examples], stored)
    if stored.factor_names:
        factors = {name: column(f"label_{name}") for name in stored.factor_names}
        return ImageData(images, factors["shape"], np.stack([*factors.values()], -1))
    return ImageData(images, column("label") if "label" in examples[0] else None)


def _refuse_foreign_code(pairs: list[tuple[str, Any]]) -> None:
    """Let features.json name no class but TFDS's, which imports whatever it names."""
    for name, value in pairs:
        if name in CLASS_NAMES and not str(value).startswith("tensorflow_datasets."):
            raise DataError(f"its features.json names {value!r}, which is not TFDS's")


def _decode(files: list[bytes], stored: Stored) -> np.ndarray:
    import cv2

    def decode(i: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(files[i], np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"example {i} is not an image")
        if stored.shape[-1] == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        image = image.reshape(stored.shape)
        return image if stored.convert is None else stored.convert(image)

    images = np.empty((len(files), *decode(0).shape), np.uint8)

    def decode_from(start: int) -> None:
        for i in range(start, min(start + 4096, len(files))):
            images[i] = decode(i)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_from, range(0, len(files), 4096)))  # list: raise errors
    return images
