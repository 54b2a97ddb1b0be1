"""Latent prediction losses and the terms that keep a latent from collapsing."""
