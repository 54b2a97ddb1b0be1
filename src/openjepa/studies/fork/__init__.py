"""The fork: several futures of a body that takes one of two roads."""
