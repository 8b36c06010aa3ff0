"""The systems of the literature: each trained, measured and shown, one file each."""
