"""Two hundred thousand steps leave no trace: no memory, no compilation."""

import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.core import Example, Objective, Params
from vaejax.training import fit

STATM = Path("/proc/self/statm")  # in pages, the second is the resident set


def tiny_objective() -> Objective:
    def loss(params, state, key, batch):
        error = batch.example.x + jax.random.normal(key, ()) - params.decoder
        value = jnp.square(error).mean()
        return value, (state + 1, {"bound": -value})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(()), prior=()), jnp.zeros(())

    return Objective(init=init, loss=loss)


def compilations(caplog) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    return [text for text in messages if "compil" in text.lower()]


@pytest.mark.skipif(not STATM.exists(), reason="memory is measured through /proc")
def test_200_000_steps_need_no_more_memory_and_no_compilation(caplog):
    pages, dispatches, at_first = {}, [], []

    def on_epoch(report):
        pages[report.epoch] = int(STATM.read_text().split()[1])
        if report.epoch == 1:
            at_first.extend(compilations(caplog))
            caplog.clear()

    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        state = fit(
            tiny_objective(),
            optax.adam(1e-3),
            Example(np.arange(1000, dtype=np.float32)),
            epochs=200,
            batch_size=1,
            key=jax.random.key(0),
            steps_per_dispatch=250,
            on_dispatch=lambda state, totals: dispatches.append(int(state.step)),
            on_epoch=on_epoch,
        )
    assert at_first
    assert compilations(caplog) == []
    assert state.step == 200_000
    assert len(dispatches) >= 800
    assert pages[200] - pages[100] < 2**20 * 4 / 4096  # 4 MB, in pages
