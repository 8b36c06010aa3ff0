"""TFDS builders of vaejax's data sets that need no TensorFlow.

TFDS's builders read raw files with tf.io and encode images with tf.image. The builders
here take checked arrays and store PNGs from OpenCV, in the same layout (name, version,
features, array_record), so plain `tfds.data_source("mnist")` reads the result. Counts
of words are stored as compressed arrays, the words in the metadata.

This module imports tensorflow_datasets: import it inside functions only.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import tensorflow_datasets as tfds

from vaejax.data.sources import Source
from vaejax.data.types import ImageData


class ImageBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """A builder that stores splits of images; `build` makes one for each data set.

    The builder is not registered with TFDS, whose builders have the same names.
    """

    source: Source
    splits: dict[str, ImageData]

    def _info(self) -> tfds.core.DatasetInfo:
        images, labels, _, words, *_ = next(iter(self.splits.values()))
        shape = images.shape[1:]
        features: dict[str, Any] = {}
        if words is None:
            features["image"] = tfds.features.Image(shape=shape)
        else:
            features["counts"] = tfds.features.Tensor(
                shape=shape, dtype=images.dtype, encoding="zlib"
            )
        if labels is not None:
            names = self.source.class_names
            features["label"] = (
                tfds.features.ClassLabel(names=names)
                if names
                else tfds.features.ClassLabel(num_classes=10)
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.source.name}, prepared by vaejax.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label") if labels is not None else None,
            homepage=self.source.homepage,
            citation=self.source.citation,
            metadata=None if words is None else tfds.core.MetadataDict(words=words),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {name: self._generate_examples(name) for name in self.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        images, labels, _, words, *_ = self.splits[split]
        for i, image in enumerate(images):
            example: dict[str, Any] = (
                {"image": io.BytesIO(_png(image))}
                if words is None
                else {"counts": image}
            )
            if labels is not None:
                example["label"] = int(labels[i])
            yield i, example


def build(source: Source, splits: dict[str, ImageData], data_dir: Path) -> None:
    """Store `splits` as `source`, at data_dir/name/version."""
    attributes = {
        "name": source.name,
        "VERSION": tfds.core.Version(source.version),
        "source": source,
        "splits": splits,
        "__module__": __name__,
    }
    cls = type(source.name, (ImageBuilder,), attributes, skip_registration=True)
    builder = cls(data_dir=data_dir, file_format="array_record")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a temporary path
        builder.download_and_prepare(download_config=config)


def _png(image: Any) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()
