"""What every command shares: its command line, folder, lock, journal and files."""
