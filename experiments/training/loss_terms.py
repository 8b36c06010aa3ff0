"""The terms of a loss that a command line names: regularizers, and the KL weight."""

from collections.abc import Sequence

from vaejax.core import KLWeight, Regularizer, VaejaxError, build, read
from vaejax.core.build import Word
from vaejax.core.ranges import shown
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.regularizers import REGULARIZERS


def named_regularizers(words: Sequence[str], num_examples: int) -> list[Regularizer]:
    """Build the regularizers named, each with the settings that follow its name."""
    named: list[tuple[str, list[str]]] = []
    for word in words:
        if "=" not in word:
            named.append((word, []))
        elif named:
            named[-1][1].append(word)
        else:
            raise VaejaxError(
                f"the setting {shown(word)} follows no regularizer: write its name "
                "first, as in --regularizers mmd weight=5"
            )

    known = {"num_examples": num_examples}
    return [build(REGULARIZERS, name, pairs, known) for name, pairs in named]


def named_kl_weight(words: Sequence[str], epoch_steps: int) -> KLWeight | None:
    """Build the KL weight named, with its settings; `epochs` become steps."""
    if not words:
        return None
    name, *pairs = words

    def in_steps(pair: str) -> str:
        setting, _, text = pair.partition("=")
        if setting != "epochs":
            return pair
        count = read(name, setting, Word(text), int)
        return f"num_steps={count * epoch_steps}"

    return build(KL_WEIGHTS, name, list(map(in_steps, pairs)))
