"""The parts of the reports of several commands."""
