"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.aggregate_matching import aggregate_matching
from experiments.gallery.anomaly_detection import anomaly_detection
from experiments.gallery.autoencoder import autoencoder
from experiments.gallery.conditional_vae import conditional_vae
from experiments.gallery.denoising_autoencoder import denoising_autoencoder
from experiments.gallery.discrete_latents import discrete_latents
from experiments.gallery.disentanglement import disentanglement
from experiments.gallery.entry import Entry
from experiments.gallery.implicit_optimal_prior import implicit_optimal_prior
from experiments.gallery.ladder import ladder
from experiments.gallery.m2 import m2
from experiments.gallery.masked_autoencoder import masked_autoencoder
from experiments.gallery.networks import networks
from experiments.gallery.restoration import restoration
from experiments.gallery.sparse_autoencoder import sparse_autoencoder
from experiments.gallery.stacked_denoising_autoencoder import (
    stacked_denoising_autoencoder,
)
from experiments.gallery.topic_model import topic_model
from experiments.gallery.two_layer_iwae import two_layer_iwae
from experiments.gallery.vade import vade
from experiments.gallery.vae import vae
from experiments.gallery.vq_vae import vq_vae

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
