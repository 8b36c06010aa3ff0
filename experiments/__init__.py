"""One module an experiment: a frozen Config, run(config) -> Results, a command line."""
