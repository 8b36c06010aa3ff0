"""What vaejax is measured beside: a process each, in an environment of its own."""
