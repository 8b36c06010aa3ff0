"""VAE and beta-VAE: rate and distortion, and the effect of each latent."""

from collections.abc import Mapping

from experiments.gallery.entry import Entry, Shown, Trained, test_objective
from experiments.gallery.pictures.latents import traversals
from experiments.training.config import Config
from vaejax.plotting import rate_distortion

BETAS = (0.1, 0.5, 1.0, 4.0, 10.0)


def _trainings(epochs: int) -> dict[str, Config]:
    return {
        f"beta_{beta:g}": Config(
            dataset="mnist",
            model_settings=("latent_dim=10",),
            bound="beta_elbo",
            bound_settings=(f"beta={beta}",),
            estimator="pathwise",
            epochs=epochs,
            eval_num_samples=100,
            eval_examples=1000,
        )
        for beta in BETAS
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    tests = {f"beta = {b:g}": test_objective(trained[f"beta_{b:g}"]) for b in BETAS}
    elbos = {name: test["elbo"] for name, test in tests.items()}
    best = max(elbos, key=lambda name: elbos[name])
    (least, first), *_, (most, last) = tests.items()
    rows = [
        {"name": name, "rate": test["kl"], "distortion": -test["log_px_z"]}
        for name, test in tests.items()
    ]
    return Shown(
        numbers={f"elbo {name}": value for name, value in elbos.items()},
        finding=(
            f"from {least} to {most} the rate falls from {first['kl']:.1f} to "
            f"{last['kl']:.1f} nats while the distortion rises from "
            f"{-first['log_px_z']:.1f} to {-last['log_px_z']:.1f}; the ELBO is "
            f"highest, {elbos[best]:.1f}, at {best}."
        ),
        figures=[
            rate_distortion(rows),
            traversals(trained["beta_4"], "Latents moved one at a time, beta = 4"),
        ],
    )


vae = Entry(
    title="VAE and beta-VAE",
    text=(
        "The variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114) and "
        "its KL divergence weighed by beta (Higgins et al. 2017): a point of the "
        "rate-distortion curve each."
    ),
    presets={"short": _trainings(5), "paper": _trainings(100)},
    show=_show,
)
