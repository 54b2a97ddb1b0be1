"""Joint-embedding predictive architectures: one file per method, its equation on one screen.

`METHODS` is the table that reopens checkpoints: a name leads to the class and its configuration, imported
when asked for. A new method adds one function and one line.
"""

from collections.abc import Callable

MethodEntry = Callable[[], tuple[type, type]]


def _lewm() -> tuple[type, type]:
    from openjepa.methods.lewm import LeWM, LeWMConfig

    return LeWM, LeWMConfig


METHODS: dict[str, MethodEntry] = {
    "lewm": _lewm,
}
