"""Text generation, token by token."""
