"""The systems of the literature: each trained, measured and shown, one file each."""

from experiments.gallery.autoencoders import autoencoders
from experiments.gallery.denoising import denoising
from experiments.gallery.entry import Entry
from experiments.gallery.masked import masked
from experiments.gallery.sparse import sparse
from experiments.gallery.stacked import stacked
from experiments.gallery.vae import vae

ENTRIES: dict[str, Entry] = {
    "autoencoders": autoencoders,
    "sparse": sparse,
    "denoising": denoising,
    "stacked": stacked,
    "masked": masked,
    "vae": vae,
}
