"""Reports that open without a network."""
