"""VAE and IWAE with multilayer perceptrons, convolutions and residual networks."""

from collections.abc import Mapping

import jax

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.pictures.latents import traversals
from experiments.harness.json_files import read_json
from experiments.training.config import Config
from vaejax.plotting import Table, log_likelihood_bars

SYSTEMS = {"vae": "VAE", "iwae": "IWAE"}
NETWORKS = {
    "mlp": "multilayer perceptron",
    "conv": "convolutional",
    "residual": "residual",
}


def _trainings(
    *,
    latent_dim: int,
    hidden: str,
    channels: str,
    blocks: int,
    num_samples: int,
    epochs: int,
    batch_size: int,
) -> dict[str, Config]:
    models = {
        "mlp": ("gaussian_mlp", f"hidden={hidden}"),
        "conv": ("gaussian_conv", f"channels={channels}"),
        "residual": ("gaussian_conv", f"channels={channels}", f"blocks={blocks}"),
    }

    def training(system: str, model: str, *settings: str) -> Config:
        return Config(
            dataset="mnist",
            model=model,
            model_settings=(*settings, "activation=relu", f"latent_dim={latent_dim}"),
            bound="iwae" if system == "iwae" else "elbo",
            num_samples=num_samples if system == "iwae" else 1,
            estimator="dreg" if system == "iwae" else "pathwise",
            epochs=epochs,
            batch_size=batch_size,
            eval_num_samples=50,
            eval_examples=500,
        )

    return {
        f"{system}_{label}": training(system, *network)
        for system in SYSTEMS
        for label, network in models.items()
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    found = {
        label: read_json(one.config.out / "results.json")
        for label, one in trained.items()
    }
    names = {
        f"{system}_{label}": f"{of_system}, {network}"
        for system, of_system in SYSTEMS.items()
        for label, network in NETWORKS.items()
    }
    sizes = {
        label: sum(leaf.size for leaf in jax.tree.leaves(one.params))
        for label, one in trained.items()
    }
    log_px = {label: one["test"]["log_likelihood"] for label, one in found.items()}
    speed = {label: one["train"]["images_per_second"] for label, one in found.items()}
    steps = found["vae_mlp"]["train"]["steps"]
    samples = trained["iwae_mlp"].config.num_samples
    written = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{network} {log_px[f'{system}_{label}']:.1f}"
            for label, network in NETWORKS.items()
        )
        for system, name in SYSTEMS.items()
    )
    counted = ", ".join(
        f"{sizes[f'vae_{label}']:,} {network}" for label, network in NETWORKS.items()
    )
    return Shown(
        numbers={f"log-likelihood {label}": value for label, value in log_px.items()}
        | {f"elbo {label}": one["test"]["elbo"] for label, one in found.items()}
        | {f"parameters {label}": float(size) for label, size in sizes.items()}
        | {f"images per second {label}": value for label, value in speed.items()},
        finding=(
            f"after {steps:,} updates by each, K = 1 and {samples}, the test "
            f"log-likelihoods in nats (by {found['vae_mlp']['test']['num_samples']} "
            f"samples, a lower bound) are, {written}; one seed each. Parameters: "
            f"{counted}."
        ),
        figures=[
            log_likelihood_bars(
                [{"name": names[label], **one["test"]} for label, one in found.items()]
            ),
            traversals(
                trained["vae_residual"],
                "Latents moved one at a time, residual VAE",
            ),
        ],
        tables=[
            Table(
                [
                    *("networks", "test ELBO", "test log p(x)", "its error"),
                    *("parameters", "images/s"),
                ],
                [
                    [
                        names[label],
                        f"{one['test']['elbo']:.2f}",
                        f"{log_px[label]:.2f}",
                        f"{one['test']['monte_carlo_error']:.2f}",
                        f"{sizes[label]:,}",
                        f"{speed[label]:,.0f}",
                    ]
                    for label, one in found.items()
                ],
                "Nats; all by the same number of updates, which cost what the images "
                "per second say.",
            )
        ],
    )


networks = Entry(
    title="Networks: perceptrons, convolutions, residual blocks",
    text=(
        "One model and one bound with three kinds of networks: multilayer "
        "perceptrons, strided convolutions, and these with pre-activation residual "
        "blocks between them (He et al. 2016, arXiv:1603.05027), without batch "
        "normalisation and started at their skip paths (De and Smith 2020, "
        "arXiv:2002.10444); as VAE and as IWAE (Burda et al. 2016, arXiv:1509.00519)."
    ),
    presets={
        "short": _trainings(
            latent_dim=10,
            hidden="200,200",
            channels="8,16",
            blocks=1,
            num_samples=5,
            epochs=1,
            batch_size=50,
        ),
        "paper": _trainings(
            latent_dim=50,
            hidden="200,200",
            channels="32,64",
            blocks=2,
            num_samples=50,
            epochs=1000,
            batch_size=20,
        ),
    },
    show=_show,
)
