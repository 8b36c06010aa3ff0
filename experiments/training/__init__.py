"""The parts of `experiments.train`, and of what reads its runs."""
