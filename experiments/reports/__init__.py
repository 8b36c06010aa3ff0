"""What reports of several commands are made of."""
