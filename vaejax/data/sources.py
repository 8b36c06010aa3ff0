"""The published raw files: their URLs, shapes, formats and digests.

`content_sha256` is the digest of the decompressed file and holds for every mirror,
since gzip bytes differ between them; `download_sha256` is the digest of the file at the
URL, for sets whose content digest we could not compute. Both are taken from TFDS's
published checksums where TFDS has the file. The MATLAB files have no digest: copies of
the Frey faces differ in their header, and the 28x28 Omniglot is published without a
digest. The digests of the 20 Newsgroups are those of the copy that we read: their
publisher gives none.
"""

from collections.abc import Callable

import numpy as np

from vaejax.core import record
from vaejax.data.formats import (
    read_amat,
    read_chardata,
    read_counts,
    read_digit_labels,
    read_idx,
    read_mat,
    read_words,
)
from vaejax.data.splits import fixed_order
from vaejax.data.types import ImageData


@record
class RawFile:
    """A published file and its reader."""

    name: str
    shape: tuple[int, ...]  # the required shape of the array
    parse: Callable[[bytes, tuple[int, ...]], np.ndarray]
    bytes_per_number: int = 2  # the most bytes per number of the decompressed file
    content_sha256: str | None = None
    download_sha256: str | None = None


@record
class Source:
    """A published data set, and the form in which TFDS stores it."""

    name: str
    version: str  # the version of TFDS where it has the set, for the same layout
    base_url: str
    homepage: str
    citation: str
    files: tuple[RawFile, ...]
    assemble: Callable[..., dict[str, ImageData]]  # (*arrays of `files`) -> splits
    class_names: tuple[str, ...] | None = None  # None: digits, or no labels at all


def idx_splits(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, ImageData]:
    """Return the splits of a set that comes as the four files of MNIST."""
    return {
        "train": ImageData(train_images[..., None], train_labels.astype(np.int32)),
        "test": ImageData(test_images[..., None], test_labels.astype(np.int32)),
    }


def amat_splits(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> dict[str, ImageData]:
    """Return the splits of a set that is published in three files without labels."""
    images = {"train": train, "validation": validation, "test": test}
    return {name: ImageData(array[..., None], None) for name, array in images.items()}


def frey_splits(faces: np.ndarray) -> dict[str, ImageData]:
    """Split the frames of one film: 200 for validation, 200 for test, the rest train.

    The frames are successive and alike, so that a split in time would ask for
    extrapolation; the custom since Kingma and Welling (2014) is a random one.
    """
    shuffled = faces[fixed_order("frey_faces", len(faces))][..., None]
    held_out = min(200, len(faces) // 4)
    parts = np.split(shuffled, [held_out, 2 * held_out])
    names = ("test", "validation", "train")
    return {
        name: ImageData(part, None) for name, part in zip(names, parts, strict=True)
    }


def chardata_splits(images: np.ndarray, num_test: int = 8_070) -> dict[str, ImageData]:
    """Split characters of which those for test come last."""
    train, test = np.split(images[..., None], [len(images) - num_test])
    return {"train": ImageData(train, None), "test": ImageData(test, None)}


def counts_splits(
    train: np.ndarray, test: np.ndarray, words: np.ndarray
) -> dict[str, ImageData]:
    """Leave out the documents without words, which hold no information.

    The 20 Newsgroups have one such document for training and one for test.
    """
    return {
        name: ImageData(counts[counts.any(1)], None, words=tuple(map(str, words)))
        for name, counts in (("train", train), ("test", test))
    }


def idx_files(
    content: tuple[str | None, ...] = (None,) * 4,
    download: tuple[str | None, ...] = (None,) * 4,
    train: int = 60_000,
    test: int = 10_000,
) -> tuple[RawFile, ...]:
    """Return the four files of a set like MNIST; the digests are in the same order."""
    shapes = {
        "train-images-idx3-ubyte.gz": (train, 28, 28),
        "train-labels-idx1-ubyte.gz": (train,),
        "t10k-images-idx3-ubyte.gz": (test, 28, 28),
        "t10k-labels-idx1-ubyte.gz": (test,),
    }
    return tuple(
        RawFile(
            name=name,
            shape=shape,
            parse=read_digit_labels if len(shape) == 1 else read_idx,
            content_sha256=content[i],
            download_sha256=download[i],
        )
        for i, (name, shape) in enumerate(shapes.items())
    )


def amat_file(part: str, count: int, sha256: str | None = None) -> RawFile:
    """Return one file of the binarized MNIST."""
    return RawFile(
        name=f"binarized_mnist_{part}.amat",
        shape=(count, 28, 28),
        parse=read_amat,
        content_sha256=sha256,
    )


MNIST = Source(
    name="mnist",
    version="3.0.1",
    base_url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    homepage="http://yann.lecun.com/exdb/mnist/",
    citation="LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to "
    "document recognition, Proc. IEEE 86, 1998",
    files=idx_files(
        content=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        )
    ),
    assemble=idx_splits,
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    version="3.0.1",
    base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    citation="Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    files=idx_files(
        download=(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        )
    ),
    assemble=idx_splits,
)

KMNIST = Source(
    name="kmnist",
    version="3.0.1",
    base_url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    homepage="http://codh.rois.ac.jp/kmnist/index.html.en",
    citation="Clanuwat et al., Deep Learning for Classical Japanese Literature, 2018, "
    "arXiv:1812.01718",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    files=idx_files(
        download=(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        )
    ),
    assemble=idx_splits,
)

BINARIZED_MNIST = Source(
    name="binarized_mnist",
    version="1.0.0",
    base_url="http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    homepage="http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    citation="Salakhutdinov and Murray, On the quantitative analysis of deep belief "
    "networks, ICML 2008; this draw: Larochelle and Murray, AISTATS 2011",
    files=(
        amat_file(
            "train",
            50_000,
            "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
        ),
        amat_file(
            "valid",
            10_000,
            "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
        ),
        amat_file(
            "test",
            10_000,
            "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        ),
    ),
    assemble=amat_splits,
)

FREY_FACES = Source(
    name="frey_faces",
    version="1.0.0",
    base_url="https://cs.nyu.edu/~roweis/data/",
    homepage="https://cs.nyu.edu/~roweis/data.html",
    citation="Roweis, Saul and Hinton, Global coordination of local linear models, "
    "NIPS 2001; frames of Brendan Frey's face",
    files=(RawFile(name="frey_rawface.mat", shape=(1965, 28, 20), parse=read_mat),),
    assemble=frey_splits,
)

OMNIGLOT_28X28 = Source(
    name="omniglot_28x28",
    version="1.0.0",
    base_url="https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/",
    homepage="https://github.com/yburda/iwae",
    citation="Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through "
    "probabilistic program induction, Science 350, 2015; this form: Burda, Grosse and "
    "Salakhutdinov, 2016, arXiv:1509.00519",
    files=(
        RawFile(
            name="chardata.mat",
            shape=(32_415, 28, 28),
            parse=read_chardata,
            bytes_per_number=8,
        ),
    ),
    assemble=chardata_splits,
)

NEWSGROUPS = Source(
    name="20newsgroups",
    version="1.0.0",
    base_url="https://raw.githubusercontent.com/sophieburkhardt/"
    "dirichlet-vae-topic-models/3d3593654272b01877ae70a07f9e3b562987830d/data/20news/",
    homepage="http://qwone.com/~jason/20Newsgroups/",
    citation="Lang, NewsWeeder: learning to filter netnews, ICML 1995; these words: "
    "Srivastava, Salakhutdinov and Hinton, Modeling documents with a deep Boltzmann "
    "machine, UAI 2013; used by Miao, Yu and Blunsom, 2016, arXiv:1511.06038",
    files=(
        RawFile(
            name="train.feat",
            shape=(11_259, 1_995),
            parse=read_counts,
            content_sha256="6c4b612d03bb54c68c923ae7b689398c"
            "4a7bd1046b0874332dfe0a0c42830143",
        ),
        RawFile(
            name="test.feat",
            shape=(7_488, 1_995),
            parse=read_counts,
            content_sha256="5e5beaff3c66affeb08aeefb69e40e3e"
            "1c52360cdad2df03e7df2ecb6b79fad0",
        ),
        RawFile(
            name="vocab.new",
            shape=(1_995,),
            parse=read_words,
            content_sha256="75594f361e317a8c8fafca9846e90314"
            "3ff25bb57ac4207ff850ef4245eb94bb",
        ),
    ),
    assemble=counts_splits,
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *(MNIST, FASHION_MNIST, KMNIST, BINARIZED_MNIST, FREY_FACES),
        *(OMNIGLOT_28X28, NEWSGROUPS),
    )
}
