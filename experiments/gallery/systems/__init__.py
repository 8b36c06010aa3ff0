"""One entry a file: trainings, and what they show."""
