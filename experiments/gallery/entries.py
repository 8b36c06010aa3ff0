"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.entry import Entry
from experiments.gallery.systems.aggregate_matching import aggregate_matching
from experiments.gallery.systems.anomaly_detection import anomaly_detection
from experiments.gallery.systems.autoencoder import autoencoder
from experiments.gallery.systems.conditional_vae import conditional_vae
from experiments.gallery.systems.denoising_autoencoder import denoising_autoencoder
from experiments.gallery.systems.discrete_latents import discrete_latents
from experiments.gallery.systems.disentanglement import disentanglement
from experiments.gallery.systems.implicit_optimal_prior import implicit_optimal_prior
from experiments.gallery.systems.ladder import ladder
from experiments.gallery.systems.m2 import m2
from experiments.gallery.systems.masked_autoencoder import masked_autoencoder
from experiments.gallery.systems.networks import networks
from experiments.gallery.systems.restoration import restoration
from experiments.gallery.systems.sparse_autoencoder import sparse_autoencoder
from experiments.gallery.systems.stacked_denoising_autoencoder import (
    stacked_denoising_autoencoder,
)
from experiments.gallery.systems.topic_model import topic_model
from experiments.gallery.systems.two_layer_iwae import two_layer_iwae
from experiments.gallery.systems.vade import vade
from experiments.gallery.systems.vae import vae
from experiments.gallery.systems.vq_vae import vq_vae

ENTRIES: dict[str, Entry] = {
    "autoencoder": autoencoder,
    "sparse_autoencoder": sparse_autoencoder,
    "denoising_autoencoder": denoising_autoencoder,
    "stacked_denoising_autoencoder": stacked_denoising_autoencoder,
    "masked_autoencoder": masked_autoencoder,
    "vae": vae,
    "networks": networks,
    "two_layer_iwae": two_layer_iwae,
    "ladder": ladder,
    "implicit_optimal_prior": implicit_optimal_prior,
    "aggregate_matching": aggregate_matching,
    "disentanglement": disentanglement,
    "conditional_vae": conditional_vae,
    "m2": m2,
    "vade": vade,
    "discrete_latents": discrete_latents,
    "vq_vae": vq_vae,
    "topic_model": topic_model,
    "anomaly_detection": anomaly_detection,
    "restoration": restoration,
}
