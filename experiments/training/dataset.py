"""The data set of a training: a registered one, or a user's own."""

import dataclasses

from experiments.training.config import Config, OwnDataSettings
from vaejax.data import DatasetInfo, find


def dataset_of(config: Config) -> DatasetInfo:
    """The record of the data set that the settings name; own data are read.

    Raises:
        VaejaxError: no such data set; what `find` refuses.
    """
    own = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(OwnDataSettings)
        if getattr(config, field.name) != field.default
    }
    return find(config.dataset, **own)
