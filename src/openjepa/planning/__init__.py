"""Planners, costs and the agent that acts."""
