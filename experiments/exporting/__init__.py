"""The files that experiments.export writes besides arrays and programs."""
