"""The computations of eight virtual devices: run as a program by test_sharding.py.

Training and evaluation run on meshes of several sizes; what they found goes into a .npz
file.
"""

import sys

import jax
import jax.flatten_util
import jax.numpy as jnp
import known_weights
import numpy as np
import optax

from vaejax import (
    BOUNDS,
    ESTIMATORS,
    MODELS,
    REGULARIZERS,
    Batch,
    Example,
    Objective,
    fit,
    log_likelihood,
    make_objective,
    make_step,
)
from vaejax.benchmark import gradient_moments
from vaejax.estimators import pathwise
from vaejax.sharding import DATA, put, training_mesh
from vaejax.training import init_state, run_steps, zero_totals

K = 8
BATCH = 16
MESHES = {  # (data, samples)
    "1": (1, 1),
    "2": (2, 1),
    "4": (4, 1),
    "8": (8, 1),
    "2x4": (2, 4),
}
ESTIMATES = {  # estimator: model, bound, regularizers
    "pathwise": ("gaussian_mlp", "elbo", ("mmd",)),
    "dreg": ("gaussian_mlp", "iwae", ()),
    "vimco": ("sigmoid_belief_network", "iwae", ()),
    "nvil": ("sigmoid_belief_network", "iwae", ()),
    "gumbel_softmax": ("sigmoid_belief_network", "iwae", ()),
    "averages": ("vq_vae", "reconstruction", ()),  # by pathwise
}
TRAININGS = {  # estimator: meshes, and examples of a micro-batch
    "pathwise": (("1", "8", "2x4"), None),
    "dreg": (tuple(MESHES), 8),
    "vimco": (("1", "8", "2x4"), None),
    "nvil": (tuple(MESHES), None),
    "gumbel_softmax": (("1", "2x4"), None),
    "averages": (("1", "8"), 8),
}
MEASURED = ("dreg", "gumbel_softmax")
EVALUATIONS = {  # examples, samples: devices
    (23, 130): (1, 2, 4, 8),  # 23 examples fill no number of devices
    (3, 130): (1, 4, 8),  # so few examples that their samples are divided
    (1, 3): (1, 8),  # devices that have nothing to do
}
WEIGHTS = (6, 1)  # examples: over four devices and two for their samples, and over one
MOMENTS = (1, 4)  # devices
SETTINGS = {
    "gaussian_mlp": {"latent_dim": 4, "hidden": (96,)},
    "sigmoid_belief_network": {"latent_dim": 24},
    "vq_vae": {
        **{"codebook": "ema", "decay": 0.9, "num_codes": 5, "channels": (4,)},
        **{"blocks": 0, "latent_dim": 3, "likelihood": "bernoulli"},
    },
}
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 5, 1), dtype=np.uint8)


def mesh_named(name):
    data, samples = MESHES[name]
    devices = jax.devices()[: data * samples]
    return training_mesh(BATCH, sample_devices=samples, devices=devices)


def observe(key, image):
    return (image / 255 > jax.random.uniform(key, image.shape)).astype(jnp.float32)


def objective_of(estimator, traced=None):
    model, bound, regularizers = ESTIMATES[estimator]
    objective = make_objective(
        MODELS[model](IMAGES.shape[1:], **SETTINGS[model]),
        BOUNDS[bound](),
        ESTIMATORS.get(estimator, pathwise)(),
        num_samples=K,
        allow_bias=True,
        regularizers=[REGULARIZERS[name]() for name in regularizers],
    )

    def loss(*arguments):
        if traced is not None:
            traced.append(estimator)
        return objective.loss(*arguments)

    return Objective(init=objective.init, loss=loss)


def flat(tree):
    return jax.flatten_util.ravel_pytree(tree)[0]


def train(estimator, mesh, micro_batch_size):
    """The state after two epochs, their metrics, and the traces of the loss."""
    traced, rows = [], []
    state = fit(
        objective_of(estimator, traced),
        optax.sgd(1e-2),  # Adam would make much of the rounding of tiny gradients
        Example(IMAGES),
        epochs=2,
        batch_size=BATCH,
        micro_batch_size=micro_batch_size,
        key=jax.random.key(1),
        observe=observe,
        mesh=mesh,
        on_epoch=lambda report: rows.append(list(report.metrics.values())),
    )
    return {
        "params": flat(state.params),
        "loss_state": flat(state.loss_state),
        "metrics": np.asarray(rows),
        "traces": len(traced),
    }


def share_of_work(estimator, mesh):
    """FLOP of a device for one step, and whether all of the new state is everywhere."""
    objective, optimizer = objective_of(estimator), optax.sgd(1e-2)
    step = make_step(objective, optimizer, observe=observe)
    state = init_state(objective, optimizer, jax.random.key(0))
    indices = put(np.zeros((1, BATCH), np.int32), mesh, None, DATA)
    state, data = put((state, Example(IMAGES)), mesh)
    totals = put(zero_totals(step, state, data, indices), mesh)
    with jax.set_mesh(mesh):
        lowered = run_steps.lower(step, state, totals, data, indices, 0, 1)
    compiled = lowered.compile()
    whole = all(
        sharding.is_fully_replicated
        for sharding in jax.tree.leaves(compiled.output_shardings)
    )
    return {"flops": compiled.cost_analysis()["flops"], "whole": whole}


def evaluate(count, num_samples, num_devices):
    model = MODELS["gaussian_mlp"](IMAGES.shape[1:], **SETTINGS["gaussian_mlp"])
    done = []
    found = log_likelihood(
        model,
        model.init(jax.random.key(0)),
        Example(jnp.asarray(IMAGES[:count] > 127, jnp.float32)),
        jax.random.key(1),
        num_samples=num_samples,
        chunk_size=50,
        devices=jax.devices()[:num_devices],
        progress=done.append,
    )
    names = ("log_px", "monte_carlo_error", "effective_sample_size", "pareto_k")
    return {name: getattr(found, name) for name in names} | {"done": done}


def measure(num_devices):
    """The moments of a gradient whose observations are divided over devices."""
    objective = objective_of("dreg")
    params, state = objective.init(jax.random.key(0))
    images = Example(jnp.asarray(IMAGES[:BATCH] > 127, jnp.float32))
    mesh = training_mesh(BATCH, devices=jax.devices()[:num_devices])
    batch = put(Batch(images, np.arange(BATCH)), mesh, DATA)
    params = put(params, mesh)
    key = put(jax.random.key(1), mesh)
    moments = gradient_moments(objective, params, state, key, batch, draws=16, folds=8)
    devices = len(jax.tree.leaves(batch)[0].sharding.device_set)
    mean, variance = flat(moments.mean), flat(moments.variance)
    return {"mean": mean, "variance": variance, "devices": devices}


def main(out):
    found = {}

    def keep(case, values):
        found.update({f"{case} {name}": value for name, value in values.items()})

    for estimator, (meshes, micro_batch_size) in TRAININGS.items():
        for name in meshes:
            mesh, case = mesh_named(name), f"{estimator} {name}"
            keep(case, train(estimator, mesh, micro_batch_size))
            if estimator in MEASURED:
                keep(case, share_of_work(estimator, mesh))
    for (count, num_samples), numbers in EVALUATIONS.items():
        for num_devices in numbers:
            found_here = evaluate(count, num_samples, num_devices)
            keep(f"{count} {num_samples} {num_devices}", found_here)
    for count in WEIGHTS:
        estimate = known_weights.estimate(999, known_weights.CASES[:count])
        keep(
            f"weights {count}", {n: getattr(estimate, n) for n in known_weights.FIGURES}
        )
    for num_devices in MOMENTS:
        keep(f"moments {num_devices}", measure(num_devices))
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1])
