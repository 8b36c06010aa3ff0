"""The benchmark's work in PyTorch, eager or compiled, as a good engineer writes it.

It computes on the GPU if there is one. The data stay in memory as bytes and are
binarized at every use; Adam is fused; an encoder pass is shared by the K samples;
nothing is read back before the end of the work. `--compile` puts the loss and the
log-weights through `torch.compile`.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
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
from torch import Tensor, nn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Decoder rows at a time in evaluation; the fastest on this machine is taken.
CHUNKS = (250, 500, 1000, 2500, 5000)

LogWeights = Callable[[Tensor, int], Tensor]


def mlp(weights: Weights) -> nn.Sequential:
    """Linear layers with tanh between them, from kernels [in, out]."""
    layers: list[nn.Module] = []
    for kernel, bias in weights:
        linear = nn.Linear(*kernel.shape)
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.T))
        linear.bias.data = torch.from_numpy(bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class VAE(nn.Module):
    """Gaussian latents, Bernoulli pixels."""

    def __init__(self) -> None:
        super().__init__()
        encoder, decoder = initial_weights()
        self.encoder, self.decoder = mlp(encoder), mlp(decoder)

    def log_weights(self, x: Tensor, num_samples: int) -> Tensor:
        """Compute log p(x, z_k) - log q(z_k | x), [K, B], for binary x [B, 784]."""
        loc, log_scale = self.encoder(x).chunk(2, dim=-1)
        noise = torch.randn(num_samples, len(x), NUM_LATENTS, device=DEVICE)
        z = loc + log_scale.exp() * noise
        logits = self.decoder(z)
        log_px_z = -F.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        # log p(z) - log q(z|x); the constants of the two normals cancel.
        log_pz_qz = (0.5 * (noise.square() - z.square()) + log_scale).sum(-1)
        return log_px_z + log_pz_qz

    def loss(self, x: Tensor, num_samples: int) -> Tensor:
        """Minus the importance-weighted bound, mean over the batch."""
        log_w = self.log_weights(x, num_samples)
        if num_samples == 1:
            return -log_w.mean()
        return math.log(num_samples) - torch.logsumexp(log_w, 0).mean()


class TorchPeer:
    """Training state per K, and the model trained last."""

    def __init__(self, images: Images, compiled: bool) -> None:
        self.images = torch.from_numpy(images.train).to(DEVICE)
        self.test_images = torch.from_numpy(images.test).to(DEVICE)
        # Fixed shapes: a kernel of its own for each K and chunk size.
        self.compile = partial(torch.compile, dynamic=False) if compiled else _eager
        self.states: dict[int, tuple] = {}
        self.model = VAE().to(DEVICE)
        self.chunk = 0

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` steps, in permuted epochs over the data."""
        if num_samples not in self.states:
            model = VAE().to(DEVICE)
            optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
            self.states[num_samples] = model, optimizer, self.compile(model.loss)
        self.model, optimizer, loss_of = self.states[num_samples]
        total = torch.zeros((), device=DEVICE)
        for index in self.batches(batch_size, steps):
            intensity = self.images.index_select(0, index)
            # Less than half the time of `torch.bernoulli(intensity / 255)` on a CPU.
            uniform = torch.rand(intensity.shape, device=DEVICE)
            x = (uniform.mul_(255) < intensity).float()
            loss = loss_of(x, num_samples)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return total.item() / steps

    def batches(self, batch_size: int, steps: int) -> Iterator[Tensor]:
        """Yield indices of `steps` batches, permuted anew in each epoch."""
        per_epoch = len(self.images) // batch_size
        for step in range(steps):
            if step % per_epoch == 0:
                order = torch.randperm(len(self.images), device=DEVICE)
                batches = order.split(batch_size)
            yield batches[step % per_epoch]

    @torch.inference_mode()
    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood, in the chunks that are fastest here."""
        log_weights = self.compile(self.model.log_weights)
        if not self.chunk:
            self.chunk = self.fastest_chunk(log_weights, num_samples)
        total = torch.zeros((), device=DEVICE)
        for x in self.test_images[:num_images]:
            total += log_likelihood(log_weights, x, num_samples, self.chunk)
        return total.item() / num_images

    def fastest_chunk(self, log_weights: LogWeights, num_samples: int) -> int:
        """Try each chunk size on a few images, after a first run that compiles."""
        seconds = {}
        for chunk in CHUNKS:
            log_likelihood(log_weights, self.test_images[0], num_samples, chunk)
            start = time.perf_counter()
            for x in self.test_images[:10]:
                log_likelihood(log_weights, x, num_samples, chunk)
            seconds[chunk] = time.perf_counter() - start
        return min(seconds, key=lambda chunk: seconds[chunk])


def log_likelihood(
    log_weights: LogWeights, x: Tensor, num_samples: int, chunk: int
) -> Tensor:
    """Log mean weight of exactly `num_samples` samples of one image [784]."""
    sizes = [chunk] * (num_samples // chunk)
    if num_samples % chunk:
        sizes.append(num_samples % chunk)
    log_w = torch.cat([log_weights(x[None], size) for size in sizes])
    return torch.logsumexp(log_w[:, 0], 0) - math.log(num_samples)


def _eager(function: Callable) -> Callable:
    return function


def main() -> None:
    """Serve commands from stdin."""
    parser = arguments("PyTorch contestant")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    serve(TorchPeer(load_images(options.data), options.compile), packages=("torch",))


if __name__ == "__main__":
    main()
