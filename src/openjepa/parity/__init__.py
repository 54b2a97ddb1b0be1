"""Recomputation of recorded outputs of reference implementations."""
