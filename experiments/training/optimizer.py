"""The optimizer of a training: one of optax's, under a schedule, and its settings."""

import optax

from experiments.training.config import Config
from vaejax.core import Model, Params, VaejaxError, build, settings_of
from vaejax.core.ranges import Steps, mismatch
from vaejax.training import encoder_first, steps_per_epoch
from vaejax.training.averaging import averaged
from vaejax.training.optimizers import OF_WHOLE_ARRAYS, OPTIMIZERS, SCHEDULE_FREE
from vaejax.training.schedules import NO_DECAY, SCHEDULES, Pace
from vaejax.training.seeds import each_seed


def make_optimizer(
    config: Config, model: Model, num_examples: int
) -> optax.GradientTransformation:
    """The optimizer with a learning rate scheduled over all steps of the run.

    If the encoder takes more steps than the model, it does so in the first half of the
    run; the learning rate of each part falls with the steps of that part.

    Raises:
        VaejaxError: more steps than can be; settings that exclude each other.
    """
    epoch_steps = steps_per_epoch(num_examples, config.batch_size)
    steps = config.epochs * epoch_steps
    if expected := mismatch(Steps, steps):
        raise VaejaxError(
            f"{config.epochs:,} epochs are {steps:,} steps: use fewer epochs, or "
            f"larger batches, for {expected}"
        )
    if config.optimizer in SCHEDULE_FREE:
        _check_schedule_free(config)
    optimizer = _named(config, make_schedule(config, steps, epoch_steps))
    if config.auxiliary_rate is not None:
        ratio = config.auxiliary_rate / config.learning_rate
        of_auxiliary = Params(encoder=False, decoder=False, prior=False, auxiliary=True)
        optimizer = optax.chain(
            optimizer, optax.masked(optax.scale(ratio), of_auxiliary)
        )
    if config.encoder_steps > 1:
        optimizer = encoder_first(
            optimizer,
            config.encoder_steps,
            until=steps // 2,
            prior_follows=not model.latent_prior.normalized,  # a density ratio
        )
    if config.clip_norm is not None:
        clip = optax.clip_by_global_norm(config.clip_norm)
        optimizer = optax.chain(each_seed(clip, config.num_seeds), optimizer)
    return optimizer if config.ema is None else averaged(optimizer, config.ema)


def make_schedule(config: Config, num_steps: int, epoch_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, for a run of `num_steps`."""
    pace = Pace(config.learning_rate, num_steps, epoch_steps)
    return build(SCHEDULES, config.schedule, config.schedule_settings, {"pace": pace})


def _named(config: Config, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer of this name, with the weight decay of its own kind, if any."""
    name, settings = config.optimizer, config.optimizer_settings
    decay, decoupled = (
        config.weight_decay,
        "weight_decay" in settings_of(OPTIMIZERS[name]),
    )
    if decay is not None and decoupled:
        settings = (*settings, f"weight_decay={decay}")
    optimizer = build(OPTIMIZERS, name, settings, {"learning_rate": rate})
    if decay is not None and not decoupled:
        optimizer = optax.chain(optax.add_decayed_weights(decay), optimizer)
    if name in OF_WHOLE_ARRAYS:
        optimizer = each_seed(optimizer, config.num_seeds)
    return optimizer


def _check_schedule_free(config: Config) -> None:
    """Refuse what would undo the averaging of schedule-free steps."""
    name = config.optimizer
    if config.schedule not in NO_DECAY:
        raise VaejaxError(
            f"{name} averages in the place of a decay, and --schedule is "
            f"{config.schedule}: use --schedule {' or '.join(NO_DECAY)}"
        )
    if config.ema is not None:
        raise VaejaxError(f"{name} averages the parameters already: leave --ema out")
    for setting, others in (
        ("auxiliary_rate", config.auxiliary_rate is not None),
        ("encoder_steps", config.encoder_steps > 1),
    ):
        if others:
            raise VaejaxError(
                f"{name} averages all parameters in equal steps, and {setting} is "
                f"{getattr(config, setting)}: leave it out, or use --optimizer adamw"
            )
