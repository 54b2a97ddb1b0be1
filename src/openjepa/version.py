"""The version of the package, which every checkpoint and report carries."""

__version__ = "0.1.0"
