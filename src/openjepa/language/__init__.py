"""Words and latents of a world in one space: goals in words, captions, answers, retrieval, refusals.

agent = openjepa.load_agent("runs/object-rooms")
language = openjepa.language.load("runs/object-rooms")
agent.pursue(language.cost("go to the left of the red disc"), frames)
language.describe(latents)
"""

from openjepa.language.costs import TextCost
from openjepa.language.language import Description, Language
from openjepa.language.saved import load, save

__all__ = ["Description", "Language", "TextCost", "load", "save"]
