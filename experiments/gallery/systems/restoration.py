"""Restoration: denoising and inpainting by sampling the posterior."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from matplotlib.figure import Figure

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.pictures.latents import first
from experiments.training.config import Config
from experiments.training.protocol import mean_observation
from vaejax.core import Example, Key, fold_examples
from vaejax.data import ImageData
from vaejax.evaluation import (
    bit_flips,
    denoise,
    metropolis_within_gibbs,
    pseudo_gibbs,
    psnr,
)
from vaejax.plotting import Table, image_rows

FLIPPED = 0.1  # share of the bits
SAMPLES, ROUNDS = 500, 3  # samples and rounds of denoising
WARM_UP, DRAWS = 200, 400  # steps of either chain, discarded and kept
MEASURED = 300  # test images
AT_ONCE = 50  # images at once: every draw is kept in memory
SHOWN, SHOWN_DRAWS = 10, 3  # images in a figure, and draws of each

Images = Float[Array, "N H W C"]


class Gaps(NamedTuple):
    """Images whose missing pixels are filled in, by every method."""

    mean_filled: Images
    pseudo_gibbs: Images  # means of the draws' E[x | z]
    metropolis: Images
    draws: Float[Array, "N T H W C"]  # a few draws, by Metropolis within Gibbs
    accepted: float


def _gaps() -> dict[str, Bool[np.ndarray, "H W C"]]:
    """The mask of the missing pixels."""
    row, column = np.indices((28, 28))
    square = (abs(row - 13.5) < 6) & (abs(column - 13.5) < 6)
    return {"lower half": (row >= 14)[..., None], "square": square[..., None]}


def _fill(trained: Trained, clean: Images, gap: Bool[np.ndarray, "H W C"]) -> Gaps:
    model, params, data = trained.model, trained.params, trained.data
    seen = ImageData(np.asarray(data.train.x), None)
    mean = jnp.asarray(mean_observation(seen, data.protocol), float)
    missing = jnp.asarray(gap)
    start = jnp.where(missing[None], mean[None], clean)

    plainly = partial(pseudo_gibbs, num_draws=DRAWS, warm_up=WARM_UP)
    exactly = partial(metropolis_within_gibbs, num_draws=DRAWS, warm_up=WARM_UP)

    def one(pair: tuple[Key, Array]) -> tuple[Array, Array, Array, Array]:
        key, x = pair
        keys = jax.random.split(key)
        plain = plainly(model, params, Example(x), missing, keys[0])
        # The paper's chain starts at the last draw of the plain chain.
        come_to = Example(plain.x[-1])
        exact = exactly(model, params, come_to, missing, keys[1])
        few = exact.x[:: DRAWS // SHOWN_DRAWS][:SHOWN_DRAWS]
        return plain.mean.mean(0), exact.mean.mean(0), few, exact.accepted.mean()

    plain, exact, few, accepted = jax.jit(
        lambda pairs: jax.lax.map(one, pairs, batch_size=AT_ONCE)
    )((_keys(0, clean), start))
    return Gaps(start, plain, exact, few, float(accepted.mean()))


class Denoising(NamedTuple):
    """Noisy images and their restorations."""

    noisy: Images
    decoded: Images  # decoded codes of the noisy images
    posterior_mean: Images
    effective_sample_size: float


def _denoise(trained: Trained, clean: Images) -> Denoising:
    model, params = trained.model, trained.params
    noise = bit_flips(FLIPPED)
    noisy = jax.vmap(noise.corrupt)(_keys(1, clean), clean)

    def one(pair: tuple[Key, Array]) -> tuple[Array, Array, Array]:
        key, x = pair
        z = model.posterior.mean(model.encode(params, Example(x)))
        found = denoise(
            *(model, params, Example(x), noise, key),
            num_samples=SAMPLES,
            rounds=ROUNDS,
        )
        decoded = model.likelihood.mean(model.decode(params, z, None))
        return decoded, found.mean, found.effective_sample_size

    pairs = _keys(2, clean), noisy
    decoded, mean, size = jax.jit(lambda pairs: jax.lax.map(one, pairs))(pairs)
    return Denoising(noisy, decoded, mean, float(size.mean()))


def _keys(seed: int, images: Images) -> Array:
    return fold_examples(jax.random.key(seed), jnp.arange(len(images)))


def _show(trained: Mapping[str, Trained]) -> Shown:
    own = trained["vae"]
    clean = first(own, MEASURED).x

    def decibels(images: Images) -> float:
        return float(psnr(np.asarray(images), np.asarray(clean)).mean())

    def closer(images: Images, than: Images) -> float:
        """The share of images that are nearer to the true ones than the others are."""
        gains = psnr(np.asarray(images), np.asarray(clean)) - psnr(
            np.asarray(than), np.asarray(clean)
        )
        return float((gains > 0).mean())

    denoised = _denoise(own, clean)
    noisy, decoded, mean = map(decibels, denoised[:3])
    numbers = {
        "PSNR, flipped bits, noisy": noisy,
        "PSNR, flipped bits, decoded code": decoded,
        "PSNR, flipped bits, posterior mean": mean,
        "effective sample size of denoising": denoised.effective_sample_size,
        "share better, flipped bits": closer(denoised.posterior_mean, denoised.noisy),
    }
    flips = f"{FLIPPED:.0%} of the bits flipped"
    rows: list[list[str | float]] = []
    sentences = [
        f"{flips}: from {noisy:.1f} dB to {mean:.1f} dB (their codes decoded "
        f"{decoded:.1f} dB; of {SAMPLES} samples "
        f"{denoised.effective_sample_size:.0f} are effective), better for "
        f"{numbers['share better, flipped bits']:.0%}"
    ]
    shown = {
        "data": clean,
        "noisy": denoised.noisy,
        "decoded code": denoised.decoded,
        "posterior mean": denoised.posterior_mean,
    }
    figures = [_figure(shown, f"MNIST test images with {flips}")]
    for name, gap in _gaps().items():
        filled = _fill(own, clean, gap)
        before, plain, exact = map(decibels, filled[:3])
        better = closer(filled.metropolis, filled.mean_filled)
        numbers |= {
            f"PSNR, {name} missing, filled with the mean": before,
            f"PSNR, {name} missing, pseudo-Gibbs": plain,
            f"PSNR, {name} missing, Metropolis within Gibbs": exact,
            f"acceptance, {name} missing": filled.accepted,
            f"share better, {name} missing": better,
        }
        rows.append([name, before, plain, exact])
        sentences.append(
            f"{name} missing: from {before:.1f} dB, filled with the mean, to "
            f"{exact:.1f} dB ({plain:.1f} dB by pseudo-Gibbs; "
            f"{filled.accepted:.0%} of the proposals accepted), better for {better:.0%}"
        )
        shown = {
            "data": clean,
            "observed": jnp.where(jnp.asarray(gap)[None], 0.5, clean),
            "posterior mean": filled.metropolis,
        } | {f"draw {i + 1}": filled.draws[:, i] for i in range(SHOWN_DRAWS)}
        figures.append(_figure(shown, f"MNIST test images, {name} missing"))
    return Shown(
        numbers=numbers,
        finding=(
            "mean peak signal-to-noise ratio of test images, "
            + "; ".join(sentences)
            + " of the images."
        ),
        figures=figures,
        tables=[
            Table(
                ["noise", "noisy", "decoded code", "posterior mean"],
                [[flips, noisy, decoded, mean]],
                f"PSNR in dB, mean over {MEASURED} test images.",
            ),
            Table(
                ["missing", "mean image", "pseudo-Gibbs", "Metropolis within Gibbs"],
                rows,
                f"PSNR in dB of the whole images, mean over the same {MEASURED}.",
            ),
        ],
    )


def _figure(rows: Mapping[str, Images], title: str) -> Figure:
    return image_rows({name: row[:SHOWN] for name, row in rows.items()}, title)


def _training(epochs: int, *settings: str) -> dict[str, Config]:
    return {
        "vae": Config(
            dataset="mnist",
            model_settings=settings,
            estimator="pathwise",
            epochs=epochs,
            batch_size=200,
            learning_rate=2e-3,
            eval_num_samples=100,
            eval_examples=1000,
        )
    }


restoration = Entry(
    title="Denoising and inpainting",
    text=(
        "A VAE trained on clean images restores damaged ones by its posterior. Noise "
        "that is known is taken off by importance sampling of E[x | noisy x]; what is "
        "missing is drawn by the pseudo-Gibbs chain (Rezende et al. 2014, "
        "arXiv:1401.4082), and by the chain with a Metropolis-Hastings step that makes "
        "it exact (Mattei and Frellsen 2018, arXiv:1802.04826)."
    ),
    presets={
        "short": _training(10, "latent_dim=20", "hidden=256,256"),
        "paper": _training(100, "latent_dim=50", "hidden=200,200"),
    },
    show=_show,
)
