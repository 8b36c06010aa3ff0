"""The parts of experiments.apply: what it reads, and what it writes."""
