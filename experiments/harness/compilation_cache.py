"""A cache of compiled programs on disk, shared by all runs."""

import os
import warnings
from pathlib import Path
from typing import Any

import jax

MEGABYTES = 512  # limit of the cache; a run adds about 1


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second run need not compile them.

    The cache is in `$XDG_CACHE_HOME/vaejax/jax` or `~/.cache/vaejax/jax`, unless
    JAX_COMPILATION_CACHE_DIR names a folder or JAX_ENABLE_COMPILATION_CACHE=false turns
    the cache off. If the folder cannot be written, there is no cache.
    """
    settings: Any = jax.config  # JAX does not declare its settings
    if not settings.jax_enable_compilation_cache:
        return
    if settings.jax_compilation_cache_dir is None:
        try:
            home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = Path(home, "vaejax", "jax")
            folder.mkdir(parents=True, exist_ok=True)
            _trim(folder, MEGABYTES * 2**20)
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            return
        if not os.access(folder, os.W_OK):
            return
        settings.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # A hundred small programs take as long to compile as the training step.
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # With a full disk, or an entry cut short by a kill, JAX compiles again.
    warnings.filterwarnings("ignore", message=r"Error \w+ persistent compilation cache")


def _trim(folder: Path, max_bytes: int) -> None:
    """Remove the oldest half of a cache that has grown too large.

    JAX's bound, jax_compilation_cache_max_size, reads the whole folder for every
    program that it adds.
    """
    with os.scandir(folder) as entries:
        found = sorted((e.stat().st_mtime, e.stat().st_size, e.path) for e in entries)
    total = sum(size for _, size, _ in found)
    if total <= max_bytes:
        return
    for _, size, path in found:
        if total <= max_bytes // 2:
            return
        Path(path).unlink(missing_ok=True)  # another process may have been faster
        total -= size
