"""The knobs of looking inside a model while it is trained."""

from microgpt.config import Config, Natural


class InspectConfig(Config):
    """What is measured inside the model during training."""

    every_n_steps: Natural = 0
    "Steps between induction scores of the heads, on random tokens that repeat; 0: none."
