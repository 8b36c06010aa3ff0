"""An experiment is a module: a frozen Config, run(config) -> Results, command line."""
