"""The parts of `experiments.speed` and `experiments.cost`, and the peers."""
