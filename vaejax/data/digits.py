"""The 1,797 handwritten digits of scikit-learn: 8x8 pixels, no download.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the
test part). Intensities 0..16 are scaled to 0..255. The split is stratified: one fifth
of each class, in the order of `fixed_order`, is the test set.
"""

from pathlib import Path

import numpy as np

from vaejax.data.splits import fixed_order
from vaejax.data.types import ImageData


def read_digits(split: str, data_dir: Path) -> ImageData:
    """Return the "train" (1,438) or "test" (359) images; `data_dir` is not used."""
    from sklearn.datasets import load_digits  # slow to import

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    order = fixed_order("digits", len(labels))
    in_test = np.zeros(len(labels), bool)
    for digit in range(10):
        members = order[labels[order] == digit]
        in_test[members[: round(len(members) / 5)]] = True
    chosen = in_test if split == "test" else ~in_test
    return ImageData(images[chosen], labels[chosen].astype(np.int32))
