"""Small networks fitted on frozen latents."""
