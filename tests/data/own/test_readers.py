"""Every kind of file gives the examples that were written into it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv, parquet

import vaejax
from vaejax.data import DatasetInfo, load

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, (40, 5))
REALS = RNG.normal(size=(40, 3)).astype(np.float32)
PHOTOS = RNG.integers(0, 256, (12, 10, 7, 3), dtype=np.uint8)
TABLE = pa.table(
    {
        "age": [31, None, 47, 52] * 10,
        "city": ["Rome", "Oslo", None, "Rome"] * 10,
        "smoker": [True, False, None, True] * 10,
        "dose": REALS[:, 0].astype(float).tolist(),
        "donor": list("abcdefgh") * 5,
    }
)


def whole(info: DatasetInfo) -> np.ndarray:
    """The examples of all splits."""
    return np.concatenate([load(info, split).images for split in info.splits])


def in_any_order(rows: np.ndarray) -> list[tuple]:
    return sorted(map(tuple, rows.reshape(len(rows), -1).tolist()))


def save_photos(folder: Path, suffix: str = ".png", photos: np.ndarray = PHOTOS):
    folder.mkdir(parents=True)
    for i, photo in enumerate(photos):
        Image.fromarray(photo.squeeze()).save(folder / f"{i:02}{suffix}", lossless=True)


def test_arrays_of_files_and_of_a_notebook_are_the_same(tmp_path):
    np.save(tmp_path / "x.npy", COUNTS)
    np.savez(tmp_path / "x.npz", x=COUNTS)
    same = [tmp_path / "x.npy", str(tmp_path / "x.npz"), COUNTS, COUNTS.tolist()]
    for source in [*same, jnp.asarray(COUNTS), vaejax.Example(COUNTS), {"x": COUNTS}]:
        info = vaejax.data.open(source)
        assert info.shape == (5,)
        assert info.protocols == ("counts", "reals")
        assert in_any_order(whole(info)) == in_any_order(COUNTS)
    assert load(tmp_path / "x.npy", "test").images.shape == (4, 5)


def test_labels_are_numbered_and_their_classes_named():
    names = np.array(["dog", "cat"])[COUNTS[:, 0] % 2]
    info = vaejax.data.open({"x": COUNTS, "y": names})
    assert info.class_names == ("cat", "dog")
    train = load(info)
    np.testing.assert_array_equal(train.labels, 1 - train.images[:, 0] % 2)
    kept = vaejax.data.open(vaejax.Example(COUNTS, COUNTS[:, 0] + 2))
    assert kept.class_names == ()
    np.testing.assert_array_equal(load(kept).labels, load(kept).images[:, 0] + 2)
    unknown = np.where(COUNTS[:, 0] % 2, np.nan, 7.0)
    assert set(load(vaejax.data.open({"x": COUNTS, "y": unknown})).labels) == {-1, 7}


@pytest.mark.parametrize("third", ["validation", "val"])
def test_splits_of_the_file_are_kept(third, tmp_path):
    parts = {"train": COUNTS[:20], third: COUNTS[20:30], "test": COUNTS[30:]}
    arrays = {f"x_{name}": part for name, part in parts.items()}
    labels = {f"y_{name}": part[:, 0] for name, part in parts.items()}
    np.savez(tmp_path / "x.npz", **arrays, **labels)
    info = vaejax.data.open(tmp_path / "x.npz")
    assert info.splits == ("train", "validation", "test")
    for split, part in zip(info.splits, parts.values(), strict=True):
        np.testing.assert_array_equal(load(info, split).images, part)
        np.testing.assert_array_equal(load(info, split).labels, part[:, 0])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_folder_of_images_gives_their_pixels(suffix, tmp_path):
    save_photos(tmp_path / "photos", suffix)
    (tmp_path / "photos" / "notes.txt").write_text("are no image")
    info = vaejax.data.open(tmp_path / "photos")
    assert info.shape == (10, 7, 3)
    assert info.protocols == ("none", "dequantized", "dynamic", "threshold")
    assert in_any_order(whole(info)) == in_any_order(PHOTOS)


def test_jpegs_are_read_close_to_what_they_were(tmp_path):
    smooth = np.linspace(0, 255, 12 * 80).reshape(12, 10, 8, 1).astype(np.uint8)
    save_photos(tmp_path / "photos", ".jpg", smooth)
    found = whole(vaejax.data.open(tmp_path / "photos", split=(0.5, 0.5)))
    assert found.shape == smooth.shape
    order = np.argsort(found.mean((1, 2, 3)))
    np.testing.assert_allclose(found[order].astype(int), smooth, atol=4)


def test_folders_of_a_folder_are_classes_and_every_split_has_each(tmp_path):
    for k, name in enumerate(("blue", "red")):
        save_photos(tmp_path / "photos" / name, photos=PHOTOS // 2 + 128 * k)
    info = vaejax.data.open(tmp_path / "photos", split=(0.5, 0.25, 0.25))
    assert info.class_names == ("blue", "red")
    for split, count in zip(info.splits, (6, 3, 3), strict=True):
        data = load(info, split)
        np.testing.assert_array_equal(np.bincount(data.labels), [count, count])
        np.testing.assert_array_equal(data.images.min((1, 2, 3)) >= 128, data.labels)


def test_folders_named_as_splits_are_splits(tmp_path):
    save_photos(tmp_path / "photos" / "train" / "cat", photos=PHOTOS[:8])
    save_photos(tmp_path / "photos" / "test" / "cat", photos=PHOTOS[8:])
    info = vaejax.data.open(tmp_path / "photos")
    np.testing.assert_array_equal(load(info, "test").images, PHOTOS[8:])
    assert info.splits == ("train", "test")
    assert info.class_names == ("cat",)


def test_images_are_scaled_to_a_square_of_their_middle(tmp_path):
    wide = np.zeros((4, 20, 40, 1), np.uint8)
    wide[:, :, 10:30] = 200  # the middle, which alone stays
    save_photos(tmp_path / "photos", photos=wide)
    info = vaejax.data.open(tmp_path / "photos", image_size=10, split=(0.5, 0.5))
    found = whole(info)
    assert found.shape == (4, 10, 10, 1)
    assert (found[:, :, 2:-2] == 200).all()  # the edge is a blend


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    save_photos(tmp_path / "photos", photos=PHOTOS[:4])
    Image.fromarray(PHOTOS[4, ..., 0]).save(tmp_path / "photos" / "grey.png")
    found = whole(vaejax.data.open(tmp_path / "photos", split=(0.5, 0.5)))
    grey = np.repeat(PHOTOS[4, ..., :1], 3, -1)
    assert in_any_order(found) == in_any_order(np.stack([*PHOTOS[:4], grey]))


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        new = pa.ipc.new_stream if path.stem == "stream" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table)
    return path


NAMES = ("table.csv", "table.parquet", "file.arrow", "stream.arrow")


@pytest.mark.parametrize("name", [*NAMES, "frame", "columns"])
def test_a_table_is_read_column_by_column(name, tmp_path):
    sources = {"frame": TABLE, "columns": TABLE.to_pydict()}
    source = sources[name] if name in sources else write(TABLE, tmp_path / name)
    info = vaejax.data.open(source, group_column="donor", split=(0.5, 0.5))
    assert info.protocols == ("reals",)
    assert info.missing
    assert [tuple(column) for column in info.columns] == [
        ("age", "counts", ()),
        ("city", "one_hot", ("Oslo", "Rome")),
        ("smoker", "bits", ()),
        ("dose", "reals", ()),
    ]
    by_dose = {float(row[3]): row[:3] for row in whole(info)}
    expected = [[31, 1, 1], [np.nan, 0, 0], [47, np.nan, np.nan], [52, 1, 1]] * 10
    for dose, row in zip(REALS[:, 0], expected, strict=True):
        np.testing.assert_array_equal(by_dose[float(dose)], row)
    owners = [set(load(info, split).groups) for split in info.splits]
    assert len(owners[0]) == len(owners[1]) == 4
    assert owners[0].isdisjoint(owners[1])


def test_a_column_may_be_the_label():
    info = vaejax.data.open(TABLE, label_column="city")
    assert info.class_names == ("Oslo", "Rome")
    assert [column.name for column in info.columns] == [
        *("age", "smoker", "dose", "donor"),
    ]
    counts = [np.unique(load(info, split).labels).tolist() for split in info.splits]
    assert counts == [[-1, 0, 1]] * 3  # the class of some is missing


def test_a_value_marks_what_is_missing(tmp_path):
    text = "a,b\n" + "1,2.5\n?,-9\n3,4.5\n" * 8
    (tmp_path / "t.csv").write_text(text.replace("-9", "?"))
    info = vaejax.data.open(tmp_path / "t.csv", missing_value="?")
    assert np.isnan(whole(info)).sum() == 16
    (tmp_path / "t.csv").write_text(text.replace("?", "-9"))
    assert np.isnan(
        whole(vaejax.data.open(tmp_path / "t.csv", missing_value="-9"))
    ).any()
    table = {"city": ["Rome", "Oslo"] * 10, "age": [1, 2] * 10}
    marked = vaejax.data.open(table, missing_value=1.0)
    assert np.isnan(whole(marked)).sum(0).tolist() == [0, 10]  # Rome is category 1
    found = vaejax.data.open(np.array([[-9, 2], [3, 4]] * 10), missing_value=-9.0)
    assert found.missing
    assert found.protocols == ("counts", "reals")
    assert found.found.startswith(
        "the arrays: 20 examples of shape [2], counts (whole numbers from 0), 25.0% "
        "missing"
    )


def test_hugging_face_data_sets_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
    }
    photos = [Image.fromarray(photo) for photo in PHOTOS]
    data = datasets.Dataset.from_dict(
        {"image": photos, "label": [0, 1] * 6}, features=datasets.Features(features)
    )
    data.save_to_disk(str(tmp_path / "one"))
    one = vaejax.data.open(tmp_path / "one", split=(0.5, 0.5))
    assert in_any_order(whole(one)) == in_any_order(PHOTOS)
    assert one.class_names == ("cat", "dog")
    parts = {"train": data, "test": data.select(range(4))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "two"))
    two = vaejax.data.open(tmp_path / "two")
    np.testing.assert_array_equal(load(two, "test").images, PHOTOS[:4])
    datasets.Dataset(TABLE).save_to_disk(str(tmp_path / "table"))
    assert vaejax.data.open(tmp_path / "table").columns[3].name == "dose"


@pytest.mark.parametrize("sparse", [False, True])
def test_annotated_counts_are_read(sparse, tmp_path):
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    from scipy.sparse import csr_matrix

    x = COUNTS.astype(np.float32)
    obs = pandas.DataFrame({"cell": ["T", "B"] * 20}, index=map(str, range(40)))
    made = anndata.AnnData(csr_matrix(x) if sparse else x, obs=obs)
    made.write_h5ad(tmp_path / "x.h5ad")
    info = vaejax.data.open(tmp_path / "x.h5ad", label_column="cell")
    assert in_any_order(whole(info)) == in_any_order(COUNTS)
    assert info.class_names == ("B", "T")
    assert load(info).words == tuple("01234")
