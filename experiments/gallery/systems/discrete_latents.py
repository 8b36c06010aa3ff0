"""Binary and categorical latents: bounds, and the number of values in use."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.gallery.entry import Entry, Shown, Trained, test_objective
from experiments.harness.json_files import read_json
from experiments.training.config import Config
from experiments.training.report import sample_images
from vaejax.core import Example, fold_examples
from vaejax.evaluation import code_use, posterior_means
from vaejax.plotting import Table, bars_by_rank, image_rows


class System(NamedTuple):
    """A network, with its bound and estimator."""

    name: str
    model: str
    bound: str
    estimator: str
    values: int  # number of values of a latent


SYSTEMS = {
    "sbn_disarm": System(
        "belief network, DisARM", "sigmoid_belief_network", "elbo", "disarm", 2
    ),
    "sbn_vimco": System(
        "belief network, VIMCO", "sigmoid_belief_network", "iwae", "vimco", 2
    ),
    "categorical_gumbel": System(
        "categories, Gumbel-softmax", "categorical_mlp", "elbo", "gumbel_softmax", 10
    ),
    "categorical_relax": System(
        "categories, RELAX", "categorical_mlp", "elbo", "relax", 10
    ),
}
SHOWN = 10  # images


def _trainings(
    epochs: int, num_samples: int, eval_num_samples: int, eval_examples: int | None
) -> dict[str, Config]:
    return {
        label: Config(
            dataset="binarized_mnist",
            model=system.model,
            bound=system.bound,
            estimator=system.estimator,
            allow_bias=system.estimator == "gumbel_softmax",
            num_samples=num_samples,
            epochs=epochs,
            eval_num_samples=eval_num_samples,
            eval_examples=eval_examples,
        )
        for label, system in SYSTEMS.items()
    }


def _redrawn(trained: Trained) -> Float[Array, "N ..."]:
    """The mean of p(x | z) at one z per test image: at a code, not between codes."""
    model, params, test = trained.model, trained.params, trained.data.test

    @jax.jit
    def images(examples: Example) -> Array:
        def one(key: Array, example: Example) -> Array:
            z = model.posterior.sample(key, model.encode(params, example))
            return model.likelihood.mean(model.decode(params, z, None))

        keys = fold_examples(jax.random.key(0), jnp.arange(len(examples.x)))
        return jax.vmap(one)(keys, examples)

    return images(test)


class Values(NamedTuple):
    """The effective number of values of each latent, on the test images."""

    perplexity: Float[np.ndarray, " Z"]  # exp of the entropy of q(z_i), over all images
    # exp I(x; z_i): 1 for a latent of the same distribution for every image, whatever
    # the frequencies of its values.
    told: Float[np.ndarray, " Z"]


def _values(trained: Trained, count: int) -> Values:
    """The effective numbers of values, for latents of `count` values."""
    means = posterior_means(trained.model, trained.params, trained.data.test)
    if count == 2:  # the mean is the probability of 1
        given = np.stack([1 - means, means], -1)
    else:
        given = means.reshape(len(means), -1, count)
    of_all = code_use(given.mean(0)).perplexity
    noise = np.log(code_use(given).perplexity).mean(0)
    return Values(of_all, of_all / np.exp(noise))


def _show(trained: Mapping[str, Trained]) -> Shown:
    rows: list[list[Any]] = []
    told, redrawn, samples = {}, {}, {}
    numbers: dict[str, float] = {}
    for label, system in SYSTEMS.items():
        one = trained[label]
        images = _redrawn(one)
        error = float(jnp.square(images - one.data.test.x).sum((1, 2, 3)).mean())
        found = read_json(one.config.out / "results.json")["test"]
        values = _values(one, system.values)
        told[system.name] = values.told
        redrawn[system.name] = images[:SHOWN]
        samples[system.name] = sample_images(
            one.model, one.params, jax.random.key(1), SHOWN
        )
        measures = {
            "elbo": test_objective(one)["elbo"],
            "log-likelihood": found["log_likelihood"],
            "squared error": error,
            "median perplexity": float(np.median(values.perplexity)),
            "median values told": float(np.median(values.told)),
        }
        numbers |= {f"{what} {system.name}": of for what, of in measures.items()}
        rows.append([system.name, *measures.values(), system.values])
    names = [system.name for system in SYSTEMS.values()]
    best = max(names, key=lambda name: numbers[f"log-likelihood {name}"])
    written = ", ".join(
        f"{name} {numbers[f'log-likelihood {name}']:.1f}" for name in names
    )
    binary, categorical = names[0], names[2]
    count = len(trained["sbn_disarm"].data.test.x)
    return Shown(
        numbers=numbers,
        finding=(
            f"lower bounds on log p(x) of {count} test images in nats: {written}, the "
            f"highest with {best}. The median latent has a perplexity of "
            f"{numbers[f'median perplexity {binary}']:.2f} out of 2 ({binary}) and of "
            f"{numbers[f'median perplexity {categorical}']:.2f} out of 10 "
            f"({categorical}). That is the number of values told by the image, in the "
            f"median {numbers[f'median values told {binary}']:.2f} and "
            f"{numbers[f'median values told {categorical}']:.2f}, times that of the "
            "posterior's own noise."
        ),
        figures=[
            image_rows(
                {"data": trained["sbn_disarm"].data.test.x[:SHOWN], **redrawn},
                "Test images, and the mean of p(x|z) at one draw of z",
            ),
            bars_by_rank(
                told,
                "values told by the image",
                "latents, the most used first",
                {system.name: float(system.values) for system in SYSTEMS.values()},
            ),
            image_rows(samples, "Samples from the prior"),
        ],
        tables=[
            Table(
                [
                    *("system", "test ELBO, nats", "log p(x), nats, at least"),
                    *("squared error of an image", "median perplexity"),
                    *("median values told", "out of"),
                ],
                rows,
                "Perplexity is exp H(z_i) over all test images, the product of what is "
                "told, exp I(x; z_i), 1 where z_i says nothing of x, and of the "
                "posterior's own noise, exp H(z_i | x).",
            )
        ],
    )


discrete_latents = Entry(
    title="Sigmoid belief network and categorical VAE",
    text=(
        "Latents without a path for the gradient: 200 binary ones (Neal 1992; Mnih and "
        "Gregor 2014, arXiv:1402.0030) by DisARM (Dong et al. 2020, arXiv:2006.10680) "
        "and VIMCO (Mnih and Rezende 2016, arXiv:1602.06725), and 20 of 10 categories "
        "(Jang et al. 2017, arXiv:1611.01144) by the Gumbel-softmax relaxation, which "
        "is biased, and by RELAX (Grathwohl et al. 2018, arXiv:1711.00123)."
    ),
    presets={
        "short": _trainings(5, 2, 100, 1000),
        "paper": _trainings(500, 2, 5000, None),
    },
    show=_show,
)
