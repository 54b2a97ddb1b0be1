"""Who sees what: blocks (image), tubes (video), causal (frames)."""
