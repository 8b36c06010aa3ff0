"""The registered data sets, `find` and `load`, which takes a user's own data, too.

A new data set needs one factory and one line of `DATASETS`.
"""

import dataclasses
import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core import Registry, UnknownNameError, unknown
from vaejax.data.binarization import GREY_LEVELS, PHOTOGRAPH, PROTOCOLS
from vaejax.data.digits import read_digits
from vaejax.data.own.open import open as open_own
from vaejax.data.own.readers import is_path
from vaejax.data.prepared import Stored, read_prepared
from vaejax.data.sprites import FACTOR_SIZES, SIDE, read_sprites
from vaejax.data.types import (
    DataError,
    DatasetInfo,
    ImageData,
    default_data_dir,
    expand,
)

STATIC_REMEDY = "use the data set binarized_mnist for static binarization"
BINARY_REMEDY = "its pixels are already 0 and 1; the data set mnist has grey pixels"
COUNTS_REMEDY = "counts are for documents, and documents have no other protocol"
OWN_REMEDY = "its values allow no other"
DRAWN = 20_000, 2_000  # training and test images of sets that come without a split


def find(data: str | Path | DatasetInfo, **settings: Any) -> DatasetInfo:
    """Return the record of a data set.

    Args:
        data: a key of `DATASETS`, the path of a user's own data, or such a record.
        settings: of `open`, for a path.

    Raises:
        UnknownNameError: no such data set, and nothing at such a path.
        DataError: settings for a registered data set; what `open` refuses.
    """
    if not isinstance(data, DatasetInfo) and str(data) not in DATASETS:
        if os.path.exists(data) or is_path(data):
            return open_own(data, **settings)
        raise UnknownNameError(
            f"{unknown('dataset', str(data), DATASETS)}, or the path of your own data"
        )
    if settings:
        raise DataError(
            f"{', '.join(settings)} are for your own data, and {data} is registered: "
            "leave them out"
        )
    return data if isinstance(data, DatasetInfo) else DATASETS[str(data)]()


def load(
    name: str | Path | DatasetInfo,
    split: str = "train",
    *,
    protocol: str | None = None,
    data_dir: Path | str | None = None,
) -> ImageData:
    """Return a split of a data set, as it is stored, with its protocol.

    `ImageData.observations` draws observations from the images once, and
    `Protocol.sample` draws them at every use in training.

    Args:
        name: a key of `DATASETS`, a path of your own data, or the record that `open`
            or `find` returns.
        split: one of the set's splits.
        protocol: one that the set allows; None is its default.
        data_dir: prepared data; None is $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        UnknownNameError: no such data set, split or protocol.
        DataError: a protocol that the set does not allow; data missing or damaged.
    """
    info = find(name)
    protocol = info.protocols[0] if protocol is None else protocol
    _check_known("protocol", protocol, PROTOCOLS)
    _check_known(f"split of {info.name}", split, info.splits)
    if protocol not in info.protocols:
        remedy = STATIC_REMEDY if protocol == "static" else BINARY_REMEDY
        if "counts" in (protocol, *info.protocols):
            remedy = COUNTS_REMEDY
        if info.found:
            remedy = OWN_REMEDY
        raise DataError(
            f"{info.name} does not allow the protocol {protocol}, only "
            f"{', '.join(info.protocols)}: {remedy}"
        )
    folder = default_data_dir() if data_dir is None else expand(data_dir)
    return info.read(split, folder)._replace(protocol=protocol)


def digits() -> DatasetInfo:
    """The embedded 8x8 digits, which need no preparation."""
    return DatasetInfo(
        name="digits",
        shape=(8, 8, 1),
        splits=("train", "test"),
        protocols=GREY_LEVELS,
        read=read_digits,
    )


def sprites(num_train: int = DRAWN[0], num_test: int = DRAWN[1]) -> DatasetInfo:
    """Binary sprites of known factors, drawn when they are read.

    Args:
        num_train: training images, of the 737,280 that there are.
        num_test: test images, which do not depend on `num_train`.
    """
    return DatasetInfo(
        name="sprites",
        shape=(SIDE, SIDE, 1),
        splits=("train", "test"),
        protocols=("static",),
        read=lambda split, data_dir: read_sprites(split, num_train, num_test),
        factor_names=tuple(FACTOR_SIZES),
    )


def _prepared(
    name: str,
    shape: tuple[int, ...] = (28, 28, 1),
    splits: tuple[str, ...] = ("train", "validation", "test"),
    protocols: tuple[str, ...] = GREY_LEVELS,
    stored_shape: tuple[int, int, int] | None = None,
    **stored: Any,
) -> DatasetInfo:
    form = Stored(name=name, shape=stored_shape or shape, **stored)
    return DatasetInfo(
        name=name,
        shape=shape,
        splits=splits,
        protocols=protocols,
        read=partial(read_prepared, form),
        factor_names=tuple(name for name, _ in form.factors),
    )


def mnist() -> DatasetInfo:
    """MNIST: 60,000 + 10,000 handwritten digits."""
    return _prepared("mnist", splits=("train", "test"), num_classes=10)


def mnist_70k() -> DatasetInfo:
    """MNIST for clustering: 70,000 digits for training, the usual test set."""
    info = mnist()

    def read(split: str, data_dir: Path) -> ImageData:
        own = info.read("test", data_dir)
        if split == "test":
            return own
        others = info.read("train", data_dir)
        assert own.labels is not None
        assert others.labels is not None
        return ImageData(
            np.concatenate([others.images, own.images]),
            np.concatenate([others.labels, own.labels]),
        )

    return dataclasses.replace(info, name="mnist_70k", read=read)


def fashion_mnist() -> DatasetInfo:
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothes."""
    return _prepared("fashion_mnist", splits=("train", "test"), num_classes=10)


def kmnist() -> DatasetInfo:
    """KMNIST: 60,000 + 10,000 cursive Japanese characters."""
    return _prepared("kmnist", splits=("train", "test"), num_classes=10)


def binarized_mnist() -> DatasetInfo:
    """The static binarization of MNIST: 50,000 + 10,000 + 10,000."""
    return _prepared("binarized_mnist", protocols=("static",), levels=2)


def frey_faces() -> DatasetInfo:
    """The Frey faces: 1,565 + 200 + 200 grey frames of 28x20 pixels."""
    return _prepared(
        "frey_faces",
        shape=(28, 20, 1),
        protocols=PHOTOGRAPH,
    )


def omniglot_28x28() -> DatasetInfo:
    """Omniglot as Burda et al. 2016 scaled it: 24,345 + 8,070 characters."""
    return _prepared("omniglot_28x28", splits=("train", "test"))


def omniglot() -> DatasetInfo:
    """TFDS's Omniglot: 19,280 + 13,180 characters of 105x105 pixels.

    White paper becomes 0 and ink 255, as in other sets.
    """
    return _prepared(
        "omniglot",
        shape=(105, 105, 1),
        splits=("train", "test"),
        stored_shape=(105, 105, 3),
        num_classes=1_623,
        convert=lambda image: 255 - image[..., :1],
    )


def cifar10() -> DatasetInfo:
    """CIFAR-10: 50,000 + 10,000 colour photographs of 32x32 pixels."""
    return _prepared(
        "cifar10", (32, 32, 3), ("train", "test"), PHOTOGRAPH, num_classes=10
    )


def svhn_cropped() -> DatasetInfo:
    """SVHN: 73,257 + 26,032 house-number digits in colour, 32x32 pixels."""
    return _prepared(
        "svhn_cropped", (32, 32, 3), ("train", "test"), PHOTOGRAPH, num_classes=10
    )


def celeb_a() -> DatasetInfo:
    """CelebA: 162,770 + 19,867 + 19,962 faces, scaled to 64x64 pixels.

    The images are the middle 140x140 of the stored 218x178 pixels, as in Tolstikhin et
    al. 2018 (arXiv:1711.01558).
    """
    return _prepared(
        "celeb_a",
        shape=(64, 64, 3),
        protocols=PHOTOGRAPH,
        stored_shape=(218, 178, 3),
        convert=_face,
    )


def dsprites() -> DatasetInfo:
    """20,000 + 2,000 of the 737,280 images of dSprites, with their factors."""
    return _prepared(
        "dsprites",
        shape=(64, 64, 1),
        splits=("train", "test"),
        protocols=("static",),
        factors=(
            ("shape", 3),
            ("scale", 6),
            ("orientation", 40),
            ("x_position", 32),
            ("y_position", 32),
        ),
        convert=lambda image: (image > 0).astype(np.uint8),
        drawn=DRAWN,
    )


def shapes3d() -> DatasetInfo:
    """20,000 + 2,000 of the 480,000 images of 3D Shapes, with their factors."""
    hues = (("floor_hue", 10), ("wall_hue", 10), ("object_hue", 10))
    return _prepared(
        "shapes3d",
        shape=(64, 64, 3),
        splits=("train", "test"),
        protocols=PHOTOGRAPH,
        factors=(*hues, ("scale", 8), ("shape", 4), ("orientation", 15)),
        drawn=DRAWN,
    )


def newsgroups() -> DatasetInfo:
    """The 20 Newsgroups: 11,258 + 7,487 documents as counts of 1,995 words.

    No document contains the first word, which marks the end of a sentence.
    """
    return _prepared("20newsgroups", (1995,), ("train", "test"), ("counts",))


def _face(image: np.ndarray) -> np.ndarray:
    import cv2

    top, left = (image.shape[0] - 140) // 2, (image.shape[1] - 140) // 2
    middle = image[top : top + 140, left : left + 140]
    return cv2.resize(middle, (64, 64), interpolation=cv2.INTER_AREA)


DATASETS: Registry[Callable[[], DatasetInfo]] = Registry("data set") | {
    "digits": digits,
    "mnist": mnist,
    "mnist_70k": mnist_70k,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "binarized_mnist": binarized_mnist,
    "frey_faces": frey_faces,
    "omniglot_28x28": omniglot_28x28,
    "omniglot": omniglot,
    "cifar10": cifar10,
    "svhn_cropped": svhn_cropped,
    "celeb_a": celeb_a,
    "dsprites": dsprites,
    "shapes3d": shapes3d,
    "sprites": sprites,
    "20newsgroups": newsgroups,
}


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise unknown(kind, name, known)
