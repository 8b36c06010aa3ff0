"""The benchmark's work in Pythae, by its own models, trainer and likelihood estimate.

VAE for K = 1 (its Kullback-Leibler term in closed form), IWAE for K > 1, each trained
by `BaseTrainer.train_step` over the trainer's own data loader. Images are binarized in
the model, a batch at a time. The networks are the work's, in Pythae's terms: a decoder
ends in a sigmoid, an encoder in a mean and a log-variance.

The value that its IWAE reports is minus the weighted mean of the log-weights, whose
gradient is the bound's but which lies above minus the bound.
"""

import tempfile

import numpy as np
import torch
from protocol import (
    LEARNING_RATE,
    NUM_LATENTS,
    Images,
    Weights,
    arguments,
    initial_weights,
    load_images,
    serve,
)
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn
from torch.utils.data import Subset
from torch_peer import mlp


class Encoder(BaseEncoder):
    """Mean and log-variance; the work's network gives the log standard deviation."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.network = mlp(weights)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode x [B, 784]."""
        loc, log_scale = self.network(x).chunk(2, dim=-1)
        return ModelOutput(embedding=loc, log_covariance=2 * log_scale)


class Decoder(BaseDecoder):
    """Probabilities of the pixels."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.network = mlp(weights)

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode z [B, 50]."""
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


class Binarized(nn.Module):
    """A model whose batches are binarized at every use."""

    def forward(self, inputs: dict, **context: object) -> ModelOutput:
        """Draw the pixels, then the loss."""
        intensity = inputs["data"]
        x = (torch.rand_like(intensity) < intensity).float()
        return super().forward({"data": x}, **context)


class BinarizedVAE(Binarized, VAE):
    """K = 1."""


class BinarizedIWAE(Binarized, IWAE):
    """K > 1."""


def make_model(num_samples: int) -> VAE:
    """Build the work's networks in Pythae's model."""
    encoder, decoder = initial_weights()
    settings = {
        "input_dim": (784,),
        "latent_dim": NUM_LATENTS,
        "reconstruction_loss": "bce",
    }
    networks = {"encoder": Encoder(encoder), "decoder": Decoder(decoder)}
    if num_samples == 1:
        return BinarizedVAE(VAEConfig(**settings), **networks)
    config = IWAEConfig(**settings, number_samples=num_samples)
    return BinarizedIWAE(config, **networks)


class PythaePeer:
    """A trainer per K, and the model trained last."""

    def __init__(self, images: Images, folder: str) -> None:
        intensity = torch.from_numpy(images.train).float() / 255
        self.data = BaseDataset(intensity, torch.zeros(len(intensity)))
        self.test = torch.from_numpy(images.test)
        self.rng = np.random.default_rng(0)
        self.folder = folder
        self.trainers: dict[int, BaseTrainer] = {}
        self.model = make_model(1)

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` steps over shuffled batches."""
        if num_samples not in self.trainers:
            config = BaseTrainerConfig(
                output_dir=self.folder,
                per_device_train_batch_size=batch_size,
                learning_rate=LEARNING_RATE,
                no_cuda=True,
            )
            trainer = BaseTrainer(
                make_model(num_samples), self.data, training_config=config
            )
            trainer.prepare_training()
            self.trainers[num_samples] = trainer
        trainer = self.trainers[num_samples]
        chosen, left = [], steps * batch_size
        while left > 0:  # passes over the data, the last of them cut
            chosen.append(self.rng.permutation(len(self.data))[:left])
            left -= len(chosen[-1])
        subset = Subset(self.data, np.concatenate(chosen))
        trainer.train_loader = trainer.get_train_dataloader(subset)
        self.model = trainer.model
        return float(trainer.train_step(epoch=1))

    @torch.no_grad()
    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood by `get_nll`, which returns it without a minus sign."""
        images = self.test[:num_images]
        self.model.eval()
        batch_size = min(num_samples, 100)
        return float(self.model.get_nll(images, num_samples, batch_size))


if __name__ == "__main__":
    options = arguments("Pythae contestant").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        serve(
            PythaePeer(load_images(options.data), folder),
            packages=("pythae", "torch"),
        )
