"""Clips of bodies that fall, roll and collide, possible and impossible."""
