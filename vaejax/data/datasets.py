"""The registered data sets and `load`, the one function that reads them.

A new set is one factory and one line of `DATASETS`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from vaejax.core import UnknownNameError
from vaejax.data.binarization import PROTOCOLS
from vaejax.data.digits import read_digits
from vaejax.data.prepared import read_prepared
from vaejax.data.types import DataError, DatasetInfo, ImageData, default_data_dir

GREY_LEVELS = ("dynamic", "threshold", "none", "dequantized")  # what intensities allow
STATIC_REMEDY = "static binarization is the data set binarized_mnist"
BINARY_REMEDY = "its pixels are 0 and 1 already, the grey ones are the data set mnist"


def load(
    name: str,
    split: str = "train",
    *,
    protocol: str | None = None,
    data_dir: Path | str | None = None,
    seed: int = 0,
) -> ImageData:
    """Return a split of a registered data set under a binarization protocol.

    The training split keeps its intensities, for `Protocol.sample` to draw from at
    every use; the others are fixed once by `Protocol.fix` with `seed`, and become
    observations by `Protocol.as_float`.

    Args:
        name: a key of `DATASETS`.
        split: one of the set's splits.
        protocol: one that the set allows; None is its default.
        data_dir: prepared data; None is $TFDS_DATA_DIR, else ~/tensorflow_datasets.
        seed: of the binarization of validation and test splits.

    Raises:
        UnknownNameError: no such data set, split or protocol.
        DataError: a protocol that the set does not allow; data missing or damaged.
    """
    _check_known("data set", name, DATASETS)
    info = DATASETS[name]()
    protocol = info.protocols[0] if protocol is None else protocol
    _check_known("protocol", protocol, PROTOCOLS)
    _check_known(f"split of {name}", split, info.splits)
    if protocol not in info.protocols:
        remedy = STATIC_REMEDY if protocol == "static" else BINARY_REMEDY
        raise DataError(
            f"{name} does not allow the protocol {protocol}, only "
            f"{', '.join(info.protocols)}: {remedy}"
        )
    folder = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    data = info.read(split, folder)
    if split == "train":
        return data
    return data._replace(images=PROTOCOLS[protocol].fix(data.images, seed))


def digits() -> DatasetInfo:
    """Return the embedded 8x8 digits; they need no preparation."""
    return DatasetInfo(
        name="digits",
        shape=(8, 8, 1),
        splits=("train", "test"),
        protocols=GREY_LEVELS,
        read=read_digits,
    )


def _prepared(
    name: str,
    shape: tuple[int, int, int] = (28, 28, 1),
    splits: tuple[str, ...] = ("train", "validation", "test"),
    protocols: tuple[str, ...] = GREY_LEVELS,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        shape=shape,
        splits=splits,
        protocols=protocols,
        read=partial(read_prepared, name, shape),
    )


def mnist() -> DatasetInfo:
    """Return MNIST: 60,000 + 10,000 handwritten digits."""
    return _prepared("mnist", splits=("train", "test"))


def fashion_mnist() -> DatasetInfo:
    """Return Fashion-MNIST: 60,000 + 10,000 pictures of clothes."""
    return _prepared("fashion_mnist", splits=("train", "test"))


def kmnist() -> DatasetInfo:
    """Return KMNIST: 60,000 + 10,000 cursive Japanese characters."""
    return _prepared("kmnist", splits=("train", "test"))


def binarized_mnist() -> DatasetInfo:
    """Return the static binarization of MNIST: 50,000 + 10,000 + 10,000."""
    return _prepared("binarized_mnist", protocols=("static",))


def frey_faces() -> DatasetInfo:
    """Return the Frey faces: 1,565 + 200 + 200 grey frames of 28x20 pixels."""
    return _prepared(
        "frey_faces",
        shape=(28, 20, 1),
        protocols=("none", "dequantized", "dynamic", "threshold"),
    )


DATASETS: dict[str, Callable[[], DatasetInfo]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "binarized_mnist": binarized_mnist,
    "frey_faces": frey_faces,
}


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownNameError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
