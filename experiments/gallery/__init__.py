"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.conditional_vae import conditional_vae
from experiments.gallery.entry import Entry
from experiments.gallery.m2 import m2
from experiments.gallery.vade import vade
from experiments.gallery.vae import vae

ENTRIES: dict[str, Entry] = {
    "vae": vae,
    "conditional_vae": conditional_vae,
    "m2": m2,
    "vade": vade,
}
