"""Strict readers of the raw file formats: bytes become an array, or raise ValueError.

* idx (MNIST): a big-endian header, two zero bytes, 0x08 for unsigned bytes, the number
  of dimensions, each dimension as 32 bits; then the pixels.
* amat (binarized MNIST): text, a line an image, digits 0 and 1 parted by single spaces.
* mat (Frey faces, Omniglot): a MATLAB 5 file with an image in each column, the Frey
  faces in the variable `ff`, Omniglot's 28x28 characters in `data` and `testdata`;
* feat and vocabulary (20 Newsgroups): text, a line a document, `label word:count ...`
  with words from 1, and a line a word, `word 0`.
"""

import io
import re
import struct
import zlib

import numpy as np

DOCUMENT = re.compile(rb"\d+((?: \d{1,9}:\d{1,9})*) ?")
MATRIX, COMPRESSED = 14, 15  # kinds of elements in a MATLAB 5 file
WORD = re.compile(rb"(\S+) 0 ?")


def read_idx(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read an idx file of unsigned bytes that must have exactly `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    if data[:4] != header[:4]:
        raise ValueError(
            f"it is not an idx file of bytes with {len(shape)} dimension(s): it "
            f"begins with {data[:4].hex() or 'nothing'}, not {header[:4].hex()}"
        )
    if len(data) < len(header):
        raise ValueError(
            f"it is truncated: it has {len(data)} bytes, and its header has "
            f"{len(header)}"
        )
    found = struct.unpack_from(f">{len(shape)}I", data, 4)
    if found != shape:
        raise ValueError(f"its header says shape {found}, expected {shape}")
    _check_length(data, len(header) + int(np.prod(shape)))
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def read_digit_labels(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read an idx file, as `read_idx` does, of labels that must be 0 to 9."""
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
            f"line {line} is not {text.shape[1]} digits 0 or 1 separated by single "
            "spaces"
        )
    return (digits - ord("0")).reshape(shape)


def read_mat(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read the variable `ff` [H * W, N] of a MATLAB 5 file as [N, H, W] = `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    count, *image = shape
    content = _unpacked(data, int(np.prod(shape)))
    columns = _variable(content, "ff", (int(np.prod(image)), count), "uint8")
    return np.ascontiguousarray(columns.T).reshape(shape)


def read_chardata(
    data: bytes, shape: tuple[int, ...], num_test: int = 8_070
) -> np.ndarray:
    """Read `data`, then `testdata`, of the 28x28 Omniglot as [N, 28, 28] = `shape`.

    Each is [784, .] of numbers in [0, 1], an image in a column and its pixels column by
    column; they are kept to the nearest of 256 grey levels.

    Args:
        data: a MATLAB 5 file.
        shape: of all images, those for test last.
        num_test: how many those are.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    count, height, width = shape
    content = _unpacked(data, count * height * width)
    parts = [
        _variable(content, name, (height * width, size), "double")
        for name, size in (("data", count - num_test), ("testdata", num_test))
    ]
    columns = np.concatenate(parts, axis=1)
    low, high = columns.min(), columns.max()
    if not (low >= 0 and high <= 1):  # true for NaN too
        raise ValueError(f"its pixels go from {low:g} to {high:g}, expected 0 to 1")
    images = columns.T.reshape(count, width, height).swapaxes(1, 2)
    return np.rint(255 * images).astype(np.uint8)


def read_counts(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read N lines of word counts as [N, V] = `shape`, uint16; labels are dropped.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    counts = np.zeros(shape, np.uint16)
    for row, line in zip(counts, _lines(data, shape[0]), strict=True):
        number, text = line
        found = DOCUMENT.fullmatch(text)
        if found is None:
            raise ValueError(f"line {number} is not a label and pairs word:count")
        pairs = np.array(found[1].replace(b":", b" ").split(), np.int64).reshape(-1, 2)
        words, times = pairs.T
        once = len(np.unique(words)) == len(words)
        if not (once and _within(words, shape[1]) and _within(times, 2**16 - 1)):
            raise ValueError(
                f"line {number} does not name words from 1 to {shape[1]:,}, each once "
                f"with a count from 1 to {2**16 - 1:,}"
            )
        row[words - 1] = times
    return counts


def read_words(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read V lines `word 0` as the words, [V] = `shape`.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    words = []
    for number, text in _lines(data, shape[0]):
        found = WORD.fullmatch(text)
        if found is None:
            raise ValueError(f"line {number} is not a word and 0")
        words.append(found[1].decode())
    if len(set(words)) < len(words):
        raise ValueError("it names a word twice")
    return np.array(words)


def _lines(data: bytes, count: int) -> list[tuple[int, bytes]]:
    """Split the data into exactly `count` lines, numbered from 1."""
    lines = data.splitlines()
    if len(lines) != count:
        raise ValueError(f"it has {len(lines):,} lines, expected {count:,}")
    return list(enumerate(lines, start=1))


def _within(numbers: np.ndarray, most: int) -> bool:
    return bool(((numbers >= 1) & (numbers <= most)).all())


def _unpacked(data: bytes, numbers: int) -> bytes:
    """Unpack the compressed variables of a MATLAB 5 file, before scipy reads it.

    An element is 32 bits of kind, 32 bits of length, and this number of bytes. All
    elements together may take at most twice the bytes of `numbers` doubles: otherwise a
    small file could fill the memory.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    parts, at, room = [data[:128]], 128, 16 * numbers + 2**20
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        element = data[at : at + 8 + length]
        if kind == COMPRESSED:
            try:
                element = zlib.decompressobj().decompress(element[8:], room + 1)
            except zlib.error as error:
                raise ValueError(f"it is not a MATLAB 5 file ({error})") from error
        room -= len(element)
        if room < 0:
            raise ValueError(
                "it is not a MATLAB 5 file of this size: its variables are larger"
            )
        one = struct.pack(f"{order}II", MATRIX, len(element) - 8)
        if kind == COMPRESSED and element[:8] != one:
            raise ValueError(
                "it is not a MATLAB 5 file: a compressed part is not exactly one "
                "variable"
            )
        parts.append(element)
        at += 8 + length
    return b"".join(parts)


def _variable(data: bytes, name: str, shape: tuple[int, int], kind: str) -> np.ndarray:
    """Read a variable of a MATLAB 5 file that must have this shape and kind."""
    from scipy.io import loadmat, whosmat

    try:
        found = [rest for other, *rest in whosmat(io.BytesIO(data)) if other == name]
        # Memory is allocated only after the header matches the expected shape and kind.
        if found == [[shape, kind]]:
            return loadmat(io.BytesIO(data), variable_names=[name])[name]
    except Exception as error:  # scipy raises a dozen types on damaged files
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"it is not a MATLAB 5 file with a variable {name} ({reason})"
        raise ValueError(message) from error
    if len(found) != 1:
        raise ValueError(f"it is not a MATLAB 5 file with exactly one variable {name}")
    raise ValueError(
        f"its variable {name} is {found[0][1]} {found[0][0]}, expected {kind} {shape}"
    )


def _check_length(data: bytes, expected: int) -> None:
    if len(data) != expected:
        fault = "it is truncated" if len(data) < expected else "it is too long"
        raise ValueError(f"{fault}: it has {len(data):,} bytes, expected {expected:,}")
