"""Models as files: our folders, and those of Hugging Face."""
