"""A trained model in use: loading, text, scores, figures."""
