"""`open`: a user's own files and arrays as a data set like the registered ones.

A reader returns the values of the file as they are (`readers`). They are judged
(`values`), their labels numbered, and the examples divided into splits; real numbers
may be standardised. The record says in a line what was found.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from vaejax.data.binarization import LEVELS
from vaejax.data.own.classes import number_classes, number_groups
from vaejax.data.own.raw import Asked, Raw
from vaejax.data.own.readers import read_source
from vaejax.data.own.values import WORDS, Values, find_values
from vaejax.data.splits import divide
from vaejax.data.standardize import standardization
from vaejax.data.types import DataError, DatasetInfo, ImageData

SHARES = (0.8, 0.1, 0.1)


def open(
    source: Any,
    *,
    image_size: int | None = None,
    split: tuple[float, ...] | None = None,
    split_seed: int = 0,
    label_column: str | None = None,
    group_column: str | None = None,
    missing_value: float | str | None = None,
    standardize: bool = False,
) -> DatasetInfo:
    """Return your own data as a data set, with a line that says what was found.

    Args:
        source: the path of a folder of images (PNG, JPEG, WebP; its folders are
            classes), of a .npy, .npz, .csv, .parquet, .arrow or .h5ad file, or of a
            data set that Hugging Face's `datasets` saved; or an array [N, ...], arrays
            by name (as in a .npz file: x, y or x_train, y_train, x_test, y_test),
            columns by name, an `Example`, or a data frame.
        image_size: of a folder of images: scale and crop each to a square of so many
            pixels.
        split: shares of training, validation and test, or of training and test, drawn
            class by class; by default 0.8, 0.1 and 0.1. Data that have splits keep
            them.
        split_seed: of that draw.
        label_column: column, or array, of the classes; by default the array y.
        group_column: column, or array, of groups, such as patients, no one of which is
            divided among splits.
        missing_value: what marks missing values, besides NaN and empty cells.
        standardize: shift and scale each coordinate to mean 0 and standard deviation 1
            in the training split (see `Standardization`).

    Returns:
        The record, for `load`. Columns of text hold the numbers of their categories.

    Raises:
        DataError: nothing there, or nothing that can be used, with what to do.

    Examples:
        >>> counts = jax.random.poisson(jax.random.key(0), 3.0, (50, 4))
        >>> info = vaejax.data.open(counts)
        >>> print(info.found)
        the arrays: 50 examples of shape [4], counts (whole numbers from 0); train 40,
        validation 5, test 5; protocols counts, reals; likelihoods poisson,
        negative_binomial, multinomial, fixed_normal, diagonal_normal, shared_normal,
        laplace, fixed_laplace
        >>> vaejax.data.load(info, "test")
        ImageData(images uint16[5, 4], protocol counts)
    """
    asked = Asked(image_size, label_column, group_column, missing_value)
    name, raw = read_source(source, asked)
    levels = None if raw.columns or standardize else LEVELS
    values = find_values(name, raw.x, levels)
    if standardize and values.kind in ("bits", "levels"):
        raise DataError(
            f"standardize is for real numbers, and {name} holds {WORDS[values.kind]}: "
            "leave it out"
        )
    if standardize or any(column.categories for column in raw.columns):
        values = values.as_reals()
    x = values.x[:, None] if values.x.ndim == 1 else values.x
    if x.ndim == 3 and values.kind in ("bits", "levels"):
        x = x[..., None]  # the channel of grey images
    labels, class_names = number_classes(name, raw.labels)
    groups = None if raw.groups is None else number_groups(raw.groups)
    counted = raw.columns if values.kind == "counts" else ()
    whole = ImageData(
        x,
        labels,
        words=tuple(column.name for column in counted) or None,
        groups=groups,
    )
    rows = _rows(name, raw, whole, split, split_seed)
    _check_observed(name, x[rows["train"]], raw)
    units = None
    if standardize:
        texts = np.array([bool(column.categories) for column in raw.columns])
        units = standardization(x[rows["train"]], texts if raw.columns else False)
        whole = whole._replace(images=np.asarray(units.apply(x), np.float32))
    parts = {part: whole.take(chosen) for part, chosen in rows.items()}
    return DatasetInfo(
        name=name,
        shape=x.shape[1:],
        splits=tuple(parts),
        protocols=values.protocols,
        read=lambda split, data_dir: parts[split],
        found=_said(name, x, values, class_names or raw.class_names, rows, raw),
        missing=values.num_missing > 0,
        class_names=class_names or raw.class_names,
        columns=raw.columns,
        standardization=units,
        digest=_digest(x, labels, *rows.values()),
    )


def _digest(*arrays: np.ndarray | None) -> str:
    """The SHA-256 of the arrays, their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _rows(
    name: str,
    raw: Raw,
    data: ImageData,
    split: tuple[float, ...] | None,
    seed: int,
) -> dict[str, Int[np.ndarray, " M"]]:
    """The positions of every split's examples."""
    if raw.sizes is not None:
        if split is not None:
            raise DataError(
                f"{name} has its own splits, {', '.join(raw.sizes)}: leave split out"
            )
        ends = np.cumsum(list(raw.sizes.values()))[:-1]
        own = np.split(np.arange(len(data.images)), ends)
        return dict(zip(raw.sizes, own, strict=True))
    shares = SHARES if split is None else split
    if len(shares) not in (2, 3):
        raise DataError(
            f"split is {shares}: give the shares of training, validation and test, as "
            "in 0.8, 0.1, 0.1, or of training and test"
        )
    names = ("train", "validation", "test") if len(shares) == 3 else ("train", "test")
    parts = divide(
        shares,
        len(data.images),
        seed=seed,
        labels=data.labels,
        groups=data.groups,
    )
    return dict(zip(names, parts, strict=True))


def _check_observed(name: str, x: np.ndarray, raw: Raw) -> None:
    """Refuse a coordinate that no training example has."""
    if x.dtype != np.float32 or not (unseen := np.isnan(x).all(0)).any():
        return
    places = np.argwhere(unseen)
    place = tuple(map(int, places[0]))
    where = f"column {raw.columns[place[0]].name!r}" if raw.columns else f"x{[*place]}"
    raise DataError(
        f"{where} of {name} is missing in all {len(x):,} training examples: leave it "
        "out, or use another split"
    )


def _said(
    name: str,
    x: np.ndarray,
    values: Values,
    class_names: tuple[str, ...],
    rows: dict[str, Int[np.ndarray, " M"]],
    raw: Raw,
) -> str:
    """Say in a line what was found."""
    parts = [f"{len(x):,} examples of shape {list(x.shape[1:])}", str(values)]
    if texts := [column.name for column in raw.columns if column.categories]:
        parts.append(f"categories in {_listed(texts)}")
    if class_names:
        parts.append(f"classes {_listed(class_names)}")
    splits = ", ".join(f"{split} {len(chosen):,}" for split, chosen in rows.items())
    return (
        f"{name}: {', '.join(parts)}; {splits}; "
        f"protocols {', '.join(values.protocols)}; "
        f"likelihoods {', '.join(values.likelihoods)}"
    )


def _listed(names: Sequence[str], most: int = 5) -> str:
    """The number of the names, and the first few of them."""
    return f"{len(names)} ({', '.join(names[:most])}{', ...' * (len(names) > most)})"
