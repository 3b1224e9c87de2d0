"""Model folders, in microgpt's format and in Hugging Face's."""
