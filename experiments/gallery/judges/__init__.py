"""Classifiers that judge samples and codes."""
