"""What experiments.export writes besides arrays and programs."""
