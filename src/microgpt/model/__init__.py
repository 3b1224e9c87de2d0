"""The GPT: its configuration, parts, generation and folder on disk. Needs torch alone."""
