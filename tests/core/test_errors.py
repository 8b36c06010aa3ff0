"""The advice for a name that is not known: the nearest of the names that there are."""

import pytest

from vaejax.bounds import BOUNDS
from vaejax.core import UnknownNameError, build, unknown
from vaejax.core.errors import FOREIGN, nearest
from vaejax.data import DATASETS
from vaejax.estimators import ESTIMATORS
from vaejax.models import MODELS
from vaejax.ops.matmul import PRECISIONS
from vaejax.regularizers import REGULARIZERS


@pytest.mark.parametrize(
    ("name", "known", "first"),
    [
        ("MNIST", DATASETS, "mnist"),
        ("Fashion-MNIST", DATASETS, "fashion_mnist"),
        ("bf16", PRECISIONS, "bfloat16"),
        ("tf32", PRECISIONS, "tensorfloat32"),
        ("temp", ["eta", "temperature"], "temperature"),
        ("latent_dims", ["hidden", "latent_dim"], "latent_dim"),
        ("iwea", BOUNDS, "iwae"),
        ("REINFORCE", ESTIMATORS, "score_function"),
        ("leave-one-out", ESTIMATORS, "rloo"),
        ("vqvae", MODELS, "vq_vae"),
        ("lr", ["Rate", "Learning_Rate"], "Learning_Rate"),
        ("reinforce", BOUNDS, None),
        ("n", ["near"], None),
    ],
)
def test_the_nearest_name_comes_first(name, known, first):
    assert [*nearest(name, known), None][0] == first


def test_foreign_names_stand_for_names_that_there_are():
    names = {*ESTIMATORS, *MODELS, *REGULARIZERS}
    assert set(FOREIGN.values()) <= names
    assert not FOREIGN.keys() & names


def test_names_are_written_as_words():
    assert str(unknown("bound", "elbow", ["iwae", "elbo"])) == (
        "unknown bound 'elbow': did you mean 'elbo'? Use one of elbo, iwae"
    )
    with pytest.raises(UnknownNameError) as raised:
        build(ESTIMATORS, "rebar", ["temp=3"])
    assert str(raised.value) == (
        "'rebar' has no setting 'temp': did you mean 'temperature'? Use one of eta, "
        "temperature"
    )
