"""Embeddings of whole folders, and search in them."""
