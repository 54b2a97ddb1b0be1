"""One readable training loop and what it stands on."""
