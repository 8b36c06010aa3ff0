"""A folder of images: PNG, JPEG and WebP, read by Pillow; its subfolders are classes.

photos/a.png                   images without classes
photos/cat/a.png               classes
photos/train/cat/a.png         splits, of classes or of images
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vaejax.data.own.raw import Asked, Raw, own_splits, sizes_of
from vaejax.data.types import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
GREY = ("1", "L", "LA")  # modes of Pillow; transparency is dropped
COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def read_pictures(folder: Path, asked: Asked) -> Raw:
    """Read the images of a folder in the order of their names.

    Raises:
        DataError: no images, images beside folders of images, images of several sizes.
    """
    splits = own_splits(str(folder), [path.name for path in _shown(folder)])
    parts = [folder] if splits is None else [folder / own for own in splits.values()]
    files = [_images(part) for part in parts]
    every = [file for part in files for file in part]
    if not every:
        raise DataError(
            f"{folder} holds no images, of {', '.join(SUFFIXES)}: name the folder of "
            "the images, or of folders of images, one for each class"
        )
    classified = {file.parent not in parts for file in every}
    if len(classified) > 1:
        raise DataError(
            f"{folder} holds images beside folders of images: put every image into "
            "the folder of its class, or all images into one folder"
        )
    with ThreadPoolExecutor(4) as pool:
        decode = partial(_decode, image_size=asked.image_size)
        images = list(pool.map(decode, every))
    return Raw(
        stacked(images, [str(file) for file in every]),
        labels=np.array([file.parent.name for file in every])
        if classified == {True}
        else None,
        sizes=sizes_of(splits, files),
    )


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """The images in a folder and in its folders."""
    inside = [path for path in _shown(folder) if path.is_dir()]
    return [
        path
        for place in (folder, *inside)
        for path in _shown(place)
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def stacked(
    images: Sequence[UInt8[np.ndarray, "H W C"]], names: Sequence[str]
) -> UInt8[np.ndarray, "N H W C"]:
    """The images as one array, in colour if one of them is.

    Raises:
        DataError: images of several sizes, the first two of which are named.
    """
    sizes = [image.shape[:2] for image in images]
    if len(set(sizes)) > 1:
        other = next(i for i, size in enumerate(sizes) if size != sizes[0])
        (a, b), (c, d) = sizes[0], sizes[other]
        raise DataError(
            f"{names[0]} has {a} x {b} pixels and {names[other]} has {c} x {d}: give "
            "an image_size, as in --image-size 64, to resize and crop all images"
        )
    shape = *sizes[0], max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, shape) for image in images])


def as_pixels(image: Any, image_size: int | None) -> UInt8[np.ndarray, "H W C"]:
    """An image of Pillow, upright, scaled and cropped to a square if a size is given.

    Raises:
        ValueError: pixels of more than 8 bits.
    """
    from PIL import ImageOps

    if image.mode not in GREY + COLOUR:
        raise ValueError(f"pixels of mode {image.mode} are not of 8 bits")
    shown = ImageOps.exif_transpose(image)
    shown = shown.convert("L" if image.mode in GREY else "RGB")
    if image_size is not None:
        shown = ImageOps.fit(shown, (image_size, image_size))
    return np.asarray(shown).reshape(shown.height, shown.width, -1)


def _decode(file: Path, image_size: int | None) -> UInt8[np.ndarray, "H W C"]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return as_pixels(image, image_size)
    except Exception as error:  # Pillow raises errors of many types
        raise DataError(
            f"{file} cannot be used as an image ({error}): save it as PNG of 8 bits, "
            "or remove it"
        ) from error
