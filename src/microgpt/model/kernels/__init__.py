"""The same arithmetic, faster on some machine."""
