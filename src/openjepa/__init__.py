"""OpenJEPA: world models that predict in representation space."""

__version__ = "0.1.0"
