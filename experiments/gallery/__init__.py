"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.entry import Entry
from experiments.gallery.vade import vade
from experiments.gallery.vae import vae

ENTRIES: dict[str, Entry] = {"vae": vae, "vade": vade}
