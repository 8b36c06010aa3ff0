"""The shared parts of the commands that measure estimators and bounds."""
