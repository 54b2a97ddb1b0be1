"""Worlds that show pictures, and the policies that play in them."""
