"""Work between optimizer steps: logging, evaluation, sampling, saving. None of it changes the weights."""
