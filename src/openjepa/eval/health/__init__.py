"""Whether a latent has collapsed, and whether a class keeps its contract."""
