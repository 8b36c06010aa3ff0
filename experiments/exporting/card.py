"""The model card of an export: the model, its data, its figures, and how to read it."""

from collections.abc import Mapping
from typing import Any

from jax import export

from experiments.harness.cli import command_of
from experiments.training.config import Config
from vaejax.trained import TrainedModel

SEEN = {  # what x is, by protocol
    "dynamic": "bits, of which the means are the grey levels",
    "static": "bits",
    "threshold": "bits, 1 for an intensity above half of the largest",
    "none": "grey levels from 0 to 1, the intensities divided by 255",
    "dequantized": "(intensity + u) / 256 for intensities from 0 to 255, u uniform",
    "counts": "counts",
    "reals": "numbers in the units of the data",
}
READ = """
```python
import jax.export
import numpy as np
from safetensors.numpy import load_file

weights = load_file("weights.safetensors")


def program(name):
    with open(f"{name}.jax_export", "rb") as file:
        return jax.export.deserialize(bytearray(file.read())).call


"""


def card(
    run: TrainedModel,
    config: Config,
    results: Mapping[str, Any],
    programs: Mapping[str, export.Exported],
    num_samples: int,
) -> str:
    """The card in Markdown; an unfinished run has no figures of the test split."""
    recipe, model = run.recipe, run.model
    settings = " ".join(recipe.settings)
    facts = {
        "data": f"{config.dataset}, observations of shape {list(recipe.data_shape)}",
        "protocol": f"{recipe.protocol}; x is {SEEN[recipe.protocol]}",
        "model": f"{recipe.model} {settings}".strip(),
        "bound": f"{config.bound} by {config.estimator}, K = {config.num_samples}",
        "seed": f"{config.seed}, model {run.seed} of {recipe.num_seeds}",
        **_figures(results, run.seed),
        "versions": ", ".join(
            f"{name} {version}" for name, version in results.get("versions", {}).items()
        ),
        "command": f"`{command_of('train', config)}`",
    }
    if recipe.class_names:
        facts["classes"] = ", ".join(recipe.class_names)
    labels = ", y" * (model.labels.num_classes is not None)
    calls = {
        "encode": f'z = program("encode")(weights, x{labels})',
        "decode": f'means = program("decode")(weights, z{labels})',
        "log_likelihood": f'log_px = program("log_likelihood")(weights, x{labels}, '
        "np.uint32(0))  # nats",
    }
    rows = [f"| {name} | {fact} |" for name, fact in facts.items() if fact]
    return "\n".join(
        [
            f"# {model.name} of {config.dataset}",
            "",
            "| | |\n|---|---|",
            *rows,
            "",
            "`weights.safetensors` holds the parameters; a `.jax_export` is a program "
            "for any number",
            "of examples, StableHLO as `jax.export` keeps it. `log_likelihood` takes "
            f"{num_samples:,}",
            "importance samples of each example, by a seed, its last argument.",
            READ + "\n".join(calls[name] for name in programs) + "\n```\n",
        ]
    )


def _figures(results: Mapping[str, Any], seed: int) -> dict[str, str]:
    """The figures of the test split for one seed, with their errors."""
    both = results.get("test", {})
    test = both.get("seeds", [both])[seed]
    if "log_likelihood" not in test:
        return {}
    figure = "test log p(x)" + ", up to a constant" * (not results["normalized"])
    share = "share of Pareto k above 0.7, where the error is unreliable"
    own = {
        "Monte Carlo error": test["monte_carlo_error"],
        "importance samples": test["num_samples"],
        "examples": test["num_examples"],
        share: test["pareto_k_above_0.7"],
        "ELBO": test["elbo"],
    }
    known = [f"{name} {value:.6g}" for name, value in own.items() if value is not None]
    return {figure: f"{test['log_likelihood']:.6g} nats; " + "; ".join(known)}
