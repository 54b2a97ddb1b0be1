"""Parts that know no task: transformer, embeddings, positions, norms."""
