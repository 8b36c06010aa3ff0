"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.aggregate_matching import aggregate_matching
from experiments.gallery.disentanglement import disentanglement
from experiments.gallery.entry import Entry
from experiments.gallery.vae import vae

ENTRIES: dict[str, Entry] = {
    "vae": vae,
    "disentanglement": disentanglement,
    "aggregate_matching": aggregate_matching,
}
