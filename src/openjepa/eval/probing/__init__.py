"""Read-outs of frozen encoders."""
