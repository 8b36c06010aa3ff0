"""The terms of a loss that a command line names: regularizers, and the KL weight."""

from collections.abc import Sequence

from experiments.harness.arguments import named
from vaejax.core import KLWeight, Regularizer, build, read
from vaejax.core.build import Word
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.regularizers import REGULARIZERS


def named_regularizers(words: Sequence[str], num_examples: int) -> list[Regularizer]:
    """Build the regularizers named, each with the settings that follow its name."""
    known = {"num_examples": num_examples}
    return [build(REGULARIZERS, name, pairs, known) for name, pairs in named(words)]


def named_kl_weight(words: Sequence[str], epoch_steps: int) -> KLWeight | None:
    """Build the KL weight named, with its settings; `epochs` become steps."""
    if not words:
        return None
    ((name, pairs),) = named([":".join(words)])

    def in_steps(pair: str) -> str:
        setting, _, text = pair.partition("=")
        if setting != "epochs":
            return pair
        count = read(name, setting, Word(text), int)
        return f"num_steps={count * epoch_steps}"

    return build(KL_WEIGHTS, name, list(map(in_steps, pairs)))
