"""Get the raw files of a data set, from the user's folder or the net, and check them.

Every fault raises a `DataError` that names the file, the reason and the remedy.
"""

import gzip
import hashlib
import io
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import numpy as np

from vaejax.data.sources import SOURCES, RawFile, Source
from vaejax.data.types import DataError, ImageData

GZIP_MAGIC = b"\x1f\x8b"
HEADERS = 2**20  # bytes that hold the headers of a format and of gzip
OWNERS = {
    digest: source.name
    for source in SOURCES.values()
    for file in source.files
    for digest in (file.content_sha256, file.download_sha256)
    if digest
}


def read_raw(source: Source, raw_dir: Path | None) -> dict[str, ImageData]:
    """Return the splits of `source` from raw files that passed every check.

    Args:
        source: what the files must be.
        raw_dir: where they are, compressed or not, or in its subfolder of the set's
            name; None downloads them.

    Raises:
        DataError: a file is missing, damaged, not the published one, or out of reach.
    """
    if raw_dir is None:
        paths = [source.base_url + file.name for file in source.files]
        blobs = [_download(*item) for item in zip(source.files, paths, strict=True)]
    else:
        paths = [str(path) for path in _find_all(source, raw_dir)]
        blobs = [_read_bytes(*item) for item in zip(source.files, paths, strict=True)]
    return source.assemble(
        *[
            _parse(source.name, *item)
            for item in zip(source.files, blobs, paths, strict=True)
        ]
    )


def _parse(name: str, file: RawFile, blob: bytes, where: str) -> np.ndarray:
    """Decompress, read and check one file."""
    content = blob
    try:
        if blob.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(blob)) as stream:
                content = _read_limited(file, stream.read, where)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(where, f"its gzip stream is broken ({error})") from error
    try:
        array = file.parse(content, file.shape)
    except ValueError as error:
        raise _damaged(where, str(error)) from error
    digest = _sha256(content)  # after the format check, whose messages say more
    if file.content_sha256 and digest != file.content_sha256:
        reason = f"its content's SHA-256 is {digest}, expected {file.content_sha256}"
        raise _damaged(where, reason)
    # Three sets share their file names and shapes, and two have no content digest.
    owner = OWNERS.get(digest) or OWNERS.get(_sha256(blob)) or name
    if owner != name:
        raise DataError(f"{where} is a file of {owner}, not of {name}")
    return array


def _find_all(source: Source, raw_dir: Path) -> list[Path]:
    if not raw_dir.is_dir():
        raise DataError(
            f"the raw folder {raw_dir} does not exist or is not a folder; give the one "
            f"that holds {', '.join(file.name for file in source.files)}"
        )
    found = {file.name: _find(file.name, source.name, raw_dir) for file in source.files}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"missing in {raw_dir}: {', '.join(missing)}. Fetch them from "
            f"{source.base_url} or leave out --raw-dir to download them"
        )
    return [path for path in found.values() if path is not None]


def _find(name: str, folder: str, raw_dir: Path) -> Path | None:
    stem = name.removesuffix(".gz")
    for candidate in (name, stem, stem + ".gz"):
        for path in (raw_dir / candidate, raw_dir / folder / candidate):
            if path.is_file():
                return path
    return None


def _read_limited(file: RawFile, read: Callable[[int], bytes], where: str) -> bytes:
    """Read a whole stream, which may hold no more bytes than the published file.

    Without the limit a few bytes of gzip, or a server, could fill the memory.
    """
    limit = file.bytes_per_number * int(np.prod(file.shape)) + HEADERS
    content = read(limit + 1)
    if len(content) > limit:
        raise _damaged(where, f"it holds more than {limit:,} bytes")
    return content


def _read_bytes(file: RawFile, path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return _read_limited(file, stream.read, path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _download(file: RawFile, url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            blob = _read_limited(file, response.read, url)
    except (OSError, HTTPException) as error:
        raise DataError(
            f"could not download {url} ({error}). Check the network, or fetch the file "
            "by other means and give its folder with --raw-dir"
        ) from error
    if file.download_sha256 and _sha256(blob) != file.download_sha256:
        raise _damaged(
            url, f"its SHA-256 is {_sha256(blob)}, expected {file.download_sha256}"
        )
    return blob


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} is damaged or not the published file: {reason}. Fetch it again"
    )
