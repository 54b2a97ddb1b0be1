"""Networks without a loss."""
