"""Data of robots: LeRobot data sets, DROID folders, and what their numbers mean."""
