"""Sets that TFDS prepared: their images and factors, or what to do."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from vaejax.data import DataError, load
from vaejax.data.datasets import DATASETS
from vaejax.data.prepared import Stored, read_prepared

RNG = np.random.default_rng(0)
FACTORS = {
    "shape": 3,
    "scale": 6,
    "orientation": 40,
    "x_position": 32,
    "y_position": 32,
}


def prepare_with_tfds(folder: Path, name: str, features: dict, splits: dict, **options):
    """Store `splits` of examples as TFDS's own builder would."""
    import tensorflow_datasets as tfds

    class OneOff(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.0")

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name) for name in splits}

        def _generate_examples(self, split):
            for i, row in enumerate(splits[split]):
                yield i, row | {"image": io.BytesIO(row["image"])}

    OneOff.name = name
    options = {"file_format": "array_record"} | options
    tfds.disable_progress_bar()
    OneOff(data_dir=folder, **options).download_and_prepare()


def encoded(image: np.ndarray, extension: str = ".png") -> bytes:
    """A file of the image, [H, W, 3] in red, green and blue or [H, W, 1]."""
    if image.shape[-1] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(extension, image)[1].tobytes()


def image_feature(*shape: int, **options):
    import tensorflow_datasets as tfds

    return tfds.features.Image(shape=shape, **options)


def classes(count: int):
    import tensorflow_datasets as tfds

    return tfds.features.ClassLabel(num_classes=count)


def grey(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("name", ["cifar10", "svhn_cropped"])
def test_colours_and_labels_are_those_stored(name, tmp_path):
    images, labels = grey(4, 32, 32, 3), [3, 1, 4, 1]
    rows = [
        {"image": encoded(image), "label": label}
        for image, label in zip(images, labels, strict=True)
    ]
    features = {"image": image_feature(32, 32, 3), "label": classes(10)}
    prepare_with_tfds(tmp_path, name, features, {"train": rows, "test": rows[:1]})
    data = load(name, protocol="none", data_dir=tmp_path)
    order = [
        np.flatnonzero((image == images).all((1, 2, 3)))[0] for image in data.images
    ]
    assert sorted(order) == [0, 1, 2, 3]
    assert data.labels.tolist() == np.array(labels)[order].tolist()
    assert data.factors is None


def test_omniglot_is_white_on_black(tmp_path):
    ink = 255 * RNG.integers(0, 2, (105, 105, 1), dtype=np.uint8)
    rows = [{"image": encoded(np.repeat(255 - ink, 3, -1)), "label": 1_000}]
    features = {"image": image_feature(105, 105, 3), "label": classes(1_623)}
    prepare_with_tfds(tmp_path, "omniglot", features, {"train": rows, "test": rows})
    data = load("omniglot", data_dir=tmp_path)
    np.testing.assert_array_equal(data.images[0], ink)
    assert data.labels.tolist() == [1_000]


def test_faces_are_the_scaled_middle(tmp_path):
    image = np.zeros((218, 178, 3), np.uint8)
    image[39:179, 19:159] = 10, 100, 200  # the middle 140x140
    rows = [{"image": encoded(image, ".jpg")}]
    features = {"image": image_feature(218, 178, 3, encoding_format="jpeg")}
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    prepare_with_tfds(tmp_path, "celeb_a", features, splits)
    data = load("celeb_a", "validation", data_dir=tmp_path)
    assert data.images.shape == (1, 64, 64, 3)
    colour = data.images[0, 4:-4, 4:-4].reshape(-1, 3).astype(int)
    assert np.abs(colour - [10, 100, 200]).max() <= 3  # of JPEG
    assert data.labels is None


def test_factors_are_kept_and_a_split_is_drawn(tmp_path):
    factors = np.stack([RNG.integers(0, n, 30) for n in FACTORS.values()], 1)
    bits = RNG.integers(0, 2, (30, 64, 64, 1), dtype=np.uint8)
    rows = [
        {"image": encoded(image)}
        | {f"label_{n}": int(v) for n, v in zip(FACTORS, row, strict=True)}
        for image, row in zip(bits, factors, strict=True)
    ]
    features = {"image": image_feature(64, 64, 1)}
    features |= {f"label_{name}": classes(size) for name, size in FACTORS.items()}
    prepare_with_tfds(tmp_path, "dsprites", features, {"train": rows})
    info = DATASETS["dsprites"]()
    assert info.factor_names == tuple(FACTORS)
    stored = Stored(
        name="dsprites", shape=info.shape, factors=tuple(FACTORS.items()), drawn=(20, 7)
    )
    train, test = (read_prepared(stored, s, tmp_path) for s in ("train", "test"))
    assert (len(train.images), len(test.images)) == (20, 7)
    seen = []
    for data in (train, test):
        for image, row, label in zip(
            data.images, data.factors, data.labels, strict=True
        ):
            (i,) = np.flatnonzero((image == bits).all((1, 2, 3)))
            assert row.tolist() == factors[i].tolist()
            assert label == row[0]
            seen.append(i)
    assert len(set(seen)) == 27
    with pytest.raises(DataError, match=r"the 30 of dsprites.*tfds build dsprites"):
        load("dsprites", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["dsprites", "shapes3d", "celeb_a", "omniglot"])
def test_a_set_that_is_absent_says_how_tfds_prepares_it(name, tmp_path):
    command = f"tfds build {name} --data_dir {tmp_path} --file_format array_record"
    with pytest.raises(DataError, match=f"where TensorFlow is installed.*{command}"):
        load(name, data_dir=tmp_path)
