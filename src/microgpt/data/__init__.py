"""Text becomes batches: tokenizers, corpora, windows. Needs torch and numpy alone."""
