"""What happens between optimizer steps: logging, evaluation, samples, saving. None of it may change the weights."""
