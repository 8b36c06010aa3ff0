"""A family without a head is refused by whatever reads a network's outputs."""

import pytest

from vaejax.core import Family, IncompatibleError
from vaejax.families import bernoulli, chain, diagonal_normal, mixture
from vaejax.families.chain import linear
from vaejax.families.labelled_normal import labelled_normal
from vaejax.families.scales import with_fixed_scale, with_shared_scale
from vaejax.models.assembly import event_of, from_mlps, from_networks
from vaejax.nets import mlp
from vaejax.priors import standard_normal
from vaejax.priors.learned import learned

HEADLESS = {
    "chain": lambda: chain(diagonal_normal(), [linear], top_down=True),
    "labelled": labelled_normal,
    "a labelled component": lambda: labelled_normal().strata.component,
    "mixture of chains": lambda: mixture(HEADLESS["chain"]()),
}


def of_networks(posterior: Family, likelihood: Family):
    outputs = likelihood.head.outputs_per_coordinate if likelihood.head else 1
    return from_networks(
        "of_networks",
        encoder=mlp(4, (), 4),
        decoder=mlp(2, (), 4 * outputs),
        prior=standard_normal(2),
        posterior=posterior,
        likelihood=likelihood,
        data_shape=(4,),
        latent_dim=2,
    )


def of_mlps(posterior: Family, likelihood: Family):
    return from_mlps(
        "of_mlps",
        posterior=posterior,
        prior=standard_normal(2),
        likelihood=likelihood,
        data_shape=(4,),
        data_mean=None,
        latent_dim=2,
        hidden=(3,),
        activation="tanh",
    )


DOORS = {
    "from_networks, posterior": lambda family: of_networks(family, bernoulli()),
    "from_networks, likelihood": lambda family: of_networks(diagonal_normal(), family),
    "from_mlps, posterior": lambda family: of_mlps(family, bernoulli()),
    "from_mlps, likelihood": lambda family: of_mlps(diagonal_normal(), family),
    "learned": lambda family: learned(family, 2),
    "event_of": lambda family: event_of(family, (2,)),
    "with_fixed_scale": lambda family: with_fixed_scale("fixed", family, 0.1),
    "with_shared_scale": lambda family: with_shared_scale("shared", family, 1, 0.1),
}


@pytest.mark.parametrize("name", HEADLESS)
@pytest.mark.parametrize("door", DOORS)
def test_a_family_without_a_head_is_refused(door, name):
    family = HEADLESS[name]()
    assert family.head is None
    says = f"^{family.name} has no head.*use a family with a head.*or give the Model"
    with pytest.raises(IncompatibleError, match=says):
        DOORS[door](family)


@pytest.mark.parametrize("door", DOORS)
def test_a_family_with_a_head_is_taken(door):
    DOORS[door](diagonal_normal())
