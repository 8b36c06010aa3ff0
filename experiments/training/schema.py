"""The kinds of a table's columns, where the likelihood `columns` is given none."""

from collections.abc import Sequence
from pathlib import Path

from vaejax.data import DatasetInfo
from vaejax.families import schema_of


def schema_words(words: Sequence[str], dataset: DatasetInfo) -> tuple[str, ...]:
    """The setting that describes the columns of a user's table, if none is given.

    The kinds are those that `schema_of` proposes for the training split; a column of
    text is categorical, with all its categories.

    Args:
        words: the settings of the model.
        dataset: the user's own.
    """
    asks = "likelihood=columns" in words
    given = any(word.startswith("likelihood.columns=") for word in words)
    if given or not (asks and dataset.columns):
        return ()
    kinds = list(schema_of(dataset.read("train", Path()).images).columns)
    for place, column in enumerate(dataset.columns):
        if len(column.categories) > 2:
            kinds[place] = f"categorical:{len(column.categories)}"
    return (f"likelihood.columns={','.join(kinds)}",)
