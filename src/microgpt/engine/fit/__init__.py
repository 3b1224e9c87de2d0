"""The training loop and all that hangs on it; the only room that knows Lightning."""
