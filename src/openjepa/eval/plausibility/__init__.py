"""How surprising a clip is."""
