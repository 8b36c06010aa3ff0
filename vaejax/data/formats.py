"""The three raw file formats, read strictly: from bytes to an array, or ValueError.

* idx (MNIST): a big-endian header, two zero bytes, 0x08 for unsigned bytes, the number
  of dimensions, each dimension as 32 bits; then the pixels.
* amat (binarized MNIST): text, a line an image, digits 0 and 1 parted by single spaces.
* mat (Frey faces): a MATLAB 5 file; the variable `ff` holds an image in each column.
"""

import io
import struct

import numpy as np


def read_idx(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read an idx file of unsigned bytes that must have exactly `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    if data[:4] != header[:4]:
        raise ValueError(
            f"not an idx file of bytes with {len(shape)} dimension(s): "
            f"it begins with {data[:4].hex() or 'nothing'}, not {header[:4].hex()}"
        )
    if len(data) < len(header):
        raise ValueError(f"truncated: {len(data)} bytes, the header has {len(header)}")
    found = struct.unpack_from(f">{len(shape)}I", data, 4)
    if found != shape:
        raise ValueError(f"its header says shape {found}, expected {shape}")
    _check_length(data, len(header) + int(np.prod(shape)))
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def read_digit_labels(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read an idx file of labels, which must be 0 to 9; as `read_idx`."""
    labels = read_idx(data, shape)
    if labels.max() > 9:
        raise ValueError(f"its labels go up to {labels.max()}, expected 0 to 9")
    return labels


def read_amat(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read N lines of H * W binary digits as [N, H, W] = `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    _check_length(data, 2 * int(np.prod(shape)))
    text = np.frombuffer(data, np.uint8).reshape(shape[0], -1, 2)
    digits, separators = text[:, :, 0], text[:, :, 1]
    ends = np.full(text.shape[1], ord(" "), np.uint8)
    ends[-1] = ord("\n")
    bad = ((digits | 1) != ord("1")) | (separators != ends)
    if bad.any():
        line = int(bad.any(axis=1).argmax()) + 1
        raise ValueError(
            f"line {line} is not {text.shape[1]} digits 0 or 1 parted by single spaces"
        )
    return (digits - ord("0")).reshape(shape)


def read_mat(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read the variable `ff` [H * W, N] of a MATLAB 5 file as [N, H, W] = `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    from scipy.io import loadmat, whosmat

    expected = (int(np.prod(shape[1:])), shape[0]), "uint8"
    try:
        found = {name: kind for name, *kind in whosmat(io.BytesIO(data))}["ff"]
        # What its header promises is only made room for once it is what it must be.
        if tuple(found) == expected:
            columns = loadmat(io.BytesIO(data), variable_names=["ff"])["ff"]
            return np.ascontiguousarray(columns.T).reshape(shape)
    except Exception as error:  # scipy raises a dozen types on damaged files
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"no MATLAB 5 file with a variable ff ({reason})") from error
    raise ValueError(
        f"its variable ff is {found[1]} {found[0]}, expected uint8 {expected[0]}"
    )


def _check_length(data: bytes, expected: int) -> None:
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "too long"
        raise ValueError(f"{fault}: {len(data):,} bytes, expected {expected:,}")
