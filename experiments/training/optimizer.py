"""The optimizer of a training: Adam under a schedule of its learning rate."""

from collections.abc import Callable

import optax

from experiments.training.config import Config
from vaejax.core import Model, Params, VaejaxError
from vaejax.core.ranges import Steps, mismatch
from vaejax.training import encoder_first, steps_per_epoch

SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda learning_rate, steps: optax.constant_schedule(learning_rate),
}


def make_optimizer(
    config: Config, model: Model, num_examples: int
) -> optax.GradientTransformation:
    """Adam with a learning rate scheduled over all steps of the run.

    If the encoder takes more steps than the model, it does so in the first half of the
    run; the learning rate of each part falls with the steps of that part.
    """
    steps = config.epochs * steps_per_epoch(num_examples, config.batch_size)
    if expected := mismatch(Steps, steps):
        raise VaejaxError(
            f"{config.epochs:,} epochs are {steps:,} steps: use fewer epochs, or "
            f"larger batches, for {expected}"
        )
    adam = optax.adam(SCHEDULES[config.schedule](config.learning_rate, steps))
    if config.auxiliary_rate is not None:
        ratio = config.auxiliary_rate / config.learning_rate
        of_auxiliary = Params(encoder=False, decoder=False, prior=False, auxiliary=True)
        adam = optax.chain(adam, optax.masked(optax.scale(ratio), of_auxiliary))
    if config.encoder_steps == 1:
        return adam
    return encoder_first(
        adam,
        config.encoder_steps,
        until=steps // 2,
        prior_follows=not model.latent_prior.normalized,  # a density ratio
    )
