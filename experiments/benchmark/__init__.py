"""What the commands that measure estimators and bounds share."""
