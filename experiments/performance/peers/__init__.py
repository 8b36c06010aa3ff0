"""The peers of vaejax: a process each, in an environment of its own."""
