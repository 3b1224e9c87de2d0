"""Models for other programs, and theirs for us."""
