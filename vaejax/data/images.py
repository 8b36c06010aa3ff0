"""Decoding of PNG and JPEG images of one shape and 8 bits; others raise ValueError.

The size is read from a file's first bytes and compared before anything is decoded, so
an image of 30,000 x 30,000 pixels takes no memory. Nothing is reshaped or cast: an
image of 14 x 56 pixels does not pass for 28 x 28.
"""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
JPEG = b"\xff\xd8"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers followed by a size
CHUNK = 4096  # images that a thread decodes at a time


def decode_images(
    files: Sequence[bytes],
    shape: tuple[int, ...],
    convert: Callable[[np.ndarray], np.ndarray] | None = None,
) -> UInt8[np.ndarray, "N H W C"]:
    """Decode images of `shape` [H, W, C], C = 1 or 3, and convert each.

    Raises:
        ValueError: with the reason and the number of the example.
    """
    import cv2

    def decode(i: int) -> np.ndarray:
        if (size := image_size(files[i])) != shape[:2]:
            found = (
                "neither a PNG nor a JPEG" if size is None else f"an image of {size}"
            )
            raise ValueError(f"example {i} is {found}, expected {shape[:2]} pixels")
        image = cv2.imdecode(np.frombuffer(files[i], np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"example {i} is a broken image")
        image = image[..., None] if image.ndim == 2 else image
        if (image.shape, image.dtype) != (shape, np.uint8):
            raise ValueError(
                f"example {i} is {image.dtype}{list(image.shape)}, expected "
                f"uint8{list(shape)}"
            )
        if shape[-1] == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return image if convert is None else convert(image)

    images = np.empty((len(files), *decode(0).shape), np.uint8)

    def decode_from(start: int) -> None:
        for i in range(start, min(start + CHUNK, len(files))):
            images[i] = decode(i)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_from, range(0, len(files), CHUNK)))  # list: raise errors
    return images


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return the height and width in a PNG or JPEG header; None for other data."""
    if data.startswith(PNG) and len(data) >= len(PNG) + 8:
        width, height = struct.unpack_from(">II", data, len(PNG))
        return height, width
    at = len(JPEG) if data.startswith(JPEG) else len(data)
    while at + 9 <= len(data) and data[at] == 0xFF:  # a segment: FF, its kind, length
        if data[at + 1] in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
