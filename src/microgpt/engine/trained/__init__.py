"""Using a trained model: loading, generation, scores, figures."""
