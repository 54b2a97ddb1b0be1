"""The generative and policy rivals, under the same contracts."""
