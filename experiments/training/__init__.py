"""The parts of `experiments.train`, and of the commands that read its runs."""
