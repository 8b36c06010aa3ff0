"""The shared parts of all commands: command line, folder, lock, journal and files."""
