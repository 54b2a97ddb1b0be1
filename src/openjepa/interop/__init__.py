"""Official weights in our modules, ours in official layouts."""

from openjepa.interop.convert import convert
from openjepa.interop.load import load, load_networks
from openjepa.interop.pretrained import from_pretrained, push_to_hub, save_pretrained
from openjepa.interop.registry import PUBLISHED, Published, published

__all__ = [
    "load",
    "load_networks",
    "PUBLISHED",
    "Published",
    "published",
    "convert",
    "save_pretrained",
    "from_pretrained",
    "push_to_hub",
]
