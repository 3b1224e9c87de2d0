"""Running experiments: composition, training, evaluation, checkpoints, commands. Knows Lightning and Hydra.

This file stays empty of imports, so that `microgpt.load` in a notebook needs torch alone.
"""
