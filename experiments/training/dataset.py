"""The data set of a training: a registered one, or a user's own."""

import dataclasses

from experiments.training.config import Config, DataSettings
from vaejax.core import settings_of
from vaejax.data import DatasetInfo, find
from vaejax.data import open as open_own

# The settings that prepare a user's own data.
OWN = {field.name: field.default for field in dataclasses.fields(DataSettings)}


def dataset_of(config: Config) -> DatasetInfo:
    """The record of the data set that the settings name; own data are read.

    Raises:
        VaejaxError: no such data set; what `find` refuses.
    """
    given = {
        name: getattr(config, name)
        for name in settings_of(open_own)
        if name in OWN and getattr(config, name) != OWN[name]
    }
    return find(config.dataset, **given)
