"""VQ-VAE: codebooks learned by a loss and by moving averages, and their use."""

import math
from collections.abc import Mapping

import numpy as np

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.systems.autoencoder import decoded, squared_error
from experiments.training.config import Config
from vaejax.evaluation import code_use
from vaejax.models.vq_vae import code_indices
from vaejax.plotting import Table, bars_by_rank, image_rows

BOOKS = {"loss": "codebook loss", "ema": "moving averages"}
SHOWN = 10  # test images


def _trainings(
    dataset: str,
    settings: tuple[str, ...],
    epochs: int,
    learning_rate: float,
    schedule: str,
) -> dict[str, Config]:
    return {
        book: Config(
            dataset=dataset,
            protocol="none",
            model="vq_vae",
            model_settings=(f"codebook={book}", *settings),
            bound="reconstruction",
            estimator="pathwise",
            epochs=epochs,
            batch_size=128,
            learning_rate=learning_rate,
            schedule=schedule,
            select="last",
        )
        for book in BOOKS
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    uses, errors = {}, {}
    for book, name in BOOKS.items():
        one = trained[book]
        indices = code_indices(one.model, one.params, one.data.test)
        num_codes = len(one.model.prior(one.params, None))
        uses[name] = code_use(np.bincount(indices.ravel(), minlength=num_codes))
        errors[name] = squared_error(one, one.data.test.x)
    places = indices.shape[1]
    bits = places * math.log2(num_codes)
    by_loss, by_averages = BOOKS.values()
    x = trained["loss"].data.test.x
    redrawn = {
        name: decoded(trained[book], x[:SHOWN]).clip(0, 1)
        for book, name in BOOKS.items()
    }
    more = uses[by_averages].perplexity > uses[by_loss].perplexity
    better = errors[by_averages] < errors[by_loss]
    return Shown(
        numbers={
            f"{what} {name}": float(value)
            for name in uses
            for what, value in (
                ("codebook perplexity", uses[name].perplexity),
                ("share of codes used", uses[name].share_used),
                ("test squared error", errors[name]),
            )
        },
        finding=(
            f"an image becomes {places} codes out of {num_codes}, {bits:.0f} bits at "
            f"most. Moving averages use {'more' if more else 'no more'} of the "
            f"codebook than the loss does, a perplexity of "
            f"{uses[by_averages].perplexity:.1f} against "
            f"{uses[by_loss].perplexity:.1f} with {uses[by_averages].share_used:.0%} "
            f"against {uses[by_loss].share_used:.0%} of the codes ever taken, and "
            f"reconstruct {'better' if better else 'no better'}, at a squared error "
            f"of {errors[by_averages]:.2f} against {errors[by_loss]:.2f} an image."
        ),
        figures=[
            image_rows(
                {"data": x[:SHOWN], **redrawn},
                f"Test images from {places} codes out of {num_codes}",
            ),
            bars_by_rank(
                {name: use.shares for name, use in uses.items()},
                "share of the test vectors",
                "codes, the most frequent first",
                dict.fromkeys(uses, 1 / num_codes),
            ),
        ],
        tables=[
            Table(
                ["codebook", "perplexity", "codes used", "squared error of an image"],
                [
                    [
                        name,
                        f"{use.perplexity:.1f} of {num_codes}",
                        f"{use.share_used:.0%}",
                        errors[name],
                    ]
                    for name, use in uses.items()
                ],
                "On all test images; dashed in the figure: all codes equally often.",
            )
        ],
    )


vq_vae = Entry(
    title="VQ-VAE",
    text=(
        "A grid of latents, each the nearest of a codebook's vectors, with a gradient "
        "straight through (van den Oord et al. 2017, arXiv:1711.00937). The codebook "
        "is drawn to the encoder's vectors by a loss, or is their moving average. "
        "Samples would need a prior that is fitted to the codes, which is not done."
    ),
    presets={
        "short": _trainings(
            "mnist",
            # 2 s^2 is near the pixels' variance, as in the authors' code.
            settings=(
                *("num_codes=64", "latent_dim=16", "channels=16,32"),
                "likelihood.scale=0.22",
            ),
            epochs=3,
            learning_rate=4e-3,
            schedule="cosine",
        ),
        "paper": _trainings(
            "cifar10",
            settings=(
                *("num_codes=512", "latent_dim=64", "channels=256,256"),
                "likelihood.scale=0.18",
            ),
            epochs=640,  # 250,000 steps
            learning_rate=2e-4,
            schedule="constant",
        ),
    },
    show=_show,
)
