"""From words on a command line to a checked configuration; beside the sweeps the only room that knows Hydra."""
