"""One file per JEPA."""
