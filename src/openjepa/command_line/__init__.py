"""The commands of `openjepa`: options in, files and words out. Imports nothing heavy until a command runs."""
