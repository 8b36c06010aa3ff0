"""Faster forms of operations that XLA's backends run slowly."""
