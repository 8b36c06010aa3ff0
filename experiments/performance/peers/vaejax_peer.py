"""vaejax as a contestant, through the functions that its users call."""

import jax
import jax.numpy as jnp
import optax

import vaejax
from experiments.harness.compilation_cache import use_compilation_cache
from experiments.performance.peers.protocol import (
    LEARNING_RATE,
    Images,
    Weights,
    arguments,
    initial_weights,
    load_images,
    serve,
)
from vaejax.data import PROTOCOLS
from vaejax.ops.matmul import matmul_precision
from vaejax.ops.random import generator
from vaejax.training import (
    default_micro_batch_size,
    init_state,
    of_seed,
    several_seeds,
    zero_totals,
)
from vaejax.training.batches import batch_indices

SHAPE = (-1, 28, 28, 1)


class VaejaxPeer:
    """The looped steps and the chunked estimate, as `experiments.train` runs them.

    Of several seeds in one program, the first is evaluated.
    """

    def __init__(self, images: Images, num_seeds: int | None) -> None:
        self.num_seeds = num_seeds
        self.model = vaejax.MODELS["gaussian_mlp"]()
        self.optimizer = optax.adam(LEARNING_RATE)
        self.data = vaejax.Example(jnp.asarray(images.train.reshape(SHAPE)))
        self.test = vaejax.Example(jnp.asarray(images.test.reshape(SHAPE)))
        self.runs: dict[tuple[int, int], tuple] = {}
        self.params = _as_params(*initial_weights())

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` steps of the IWAE bound, from where this K stood."""
        key = num_samples, batch_size
        if key not in self.runs:
            self.runs[key] = self._start(num_samples, batch_size)
        step, state = self.runs[key]
        rows = batch_indices(
            len(self.data.x), batch_size, int(state.step), steps, seed=0
        )
        indices = jnp.asarray(rows)
        totals = zero_totals(step, state, self.data, indices)
        state, totals = vaejax.run_steps(
            step, state, totals, self.data, indices, 0, steps
        )
        loss = float(totals.means()["loss"])
        self.runs[key] = step, state
        # A copy: the next call is donated the state.
        params = jax.tree.map(jnp.copy, state.params)
        self.params = params if self.num_seeds is None else of_seed(params, 0)
        return loss

    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood of the first images."""
        examples = jax.tree.map(lambda leaf: leaf[:num_images], self.test)
        estimate = vaejax.log_likelihood(
            self.model,
            self.params,
            examples,
            jax.random.key(1),
            num_samples=num_samples,
        )
        return float(estimate.log_px.mean())

    def _start(self, num_samples: int, batch_size: int) -> tuple:
        objective = vaejax.make_objective(
            self.model,
            vaejax.build(vaejax.BOUNDS, "elbo" if num_samples == 1 else "iwae"),
            vaejax.build(vaejax.ESTIMATORS, "pathwise"),
            num_samples=num_samples,
        )
        if self.num_seeds is not None:
            objective = several_seeds(objective, self.num_seeds)
        step = vaejax.make_step(
            objective,
            self.optimizer,
            observe=PROTOCOLS["dynamic"].sample,
            micro_batch_size=default_micro_batch_size(batch_size, num_samples),
        )
        state = init_state(objective, self.optimizer, jax.random.key(0))
        params = jax.tree.map(
            lambda given, leaf: jnp.broadcast_to(given, leaf.shape),
            _as_params(*initial_weights()),
            state.params,
        )
        return step, state._replace(params=params)


def _as_params(encoder: Weights, decoder: Weights) -> vaejax.Params:
    def network(weights: Weights) -> dict:
        layers = {
            i: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
            for i, (kernel, bias) in enumerate(weights)
        }
        return {"layers": layers}

    return vaejax.Params(encoder=network(encoder), decoder=network(decoder), prior=())


if __name__ == "__main__":
    use_compilation_cache()
    parser = arguments(__doc__)
    parser.add_argument("--matmul-precision", default="float32")
    parser.add_argument("--prng", default="one_pass")
    parser.add_argument("--num-seeds", type=int)
    options = parser.parse_args()
    # Not held here: the peer's arrays on the device are copies.
    peer = VaejaxPeer(load_images(options.data), options.num_seeds)
    with matmul_precision(options.matmul_precision), generator(options.prng):
        serve(peer, packages=("jax", "jaxlib"))
