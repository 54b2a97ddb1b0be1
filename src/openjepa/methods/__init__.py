"""Joint-embedding predictive architectures: one file per method, its equation on one screen.

`METHODS` is the table that reopens checkpoints: a name leads to the class and its configuration, imported
when asked for. A new method adds one function and one line.
"""

from collections.abc import Callable

MethodEntry = Callable[[], tuple[type, type]]


def _lewm() -> tuple[type, type]:
    from openjepa.methods.lewm import LeWM, LeWMConfig

    return LeWM, LeWMConfig


def _ijepa() -> tuple[type, type]:
    from openjepa.methods.ijepa import IJEPA, IJEPAConfig

    return IJEPA, IJEPAConfig


def _vjepa2() -> tuple[type, type]:
    from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config

    return VJEPA2, VJEPA2Config


def _vjepa2_1() -> tuple[type, type]:
    from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config

    return VJEPA21, VJEPA21Config


def _vjepa2_ac() -> tuple[type, type]:
    from openjepa.methods.vjepa2_ac import VJEPA2AC, VJEPA2ACConfig

    return VJEPA2AC, VJEPA2ACConfig


def _lejepa() -> tuple[type, type]:
    from openjepa.methods.lejepa import LeJEPA, LeJEPAConfig

    return LeJEPA, LeJEPAConfig


def _levjepa() -> tuple[type, type]:
    from openjepa.methods.levjepa import LeVJEPA, LeVJEPAConfig

    return LeVJEPA, LeVJEPAConfig


def _causal_jepa() -> tuple[type, type]:
    from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig

    return CausalJEPA, CausalJEPAConfig


def _hjepa() -> tuple[type, type]:
    from openjepa.methods.hjepa import HJEPA, HJEPAConfig

    return HJEPA, HJEPAConfig


def _cell_map() -> tuple[type, type]:
    from openjepa.methods.cell_map import CellMapConfig, CellMapModel

    return CellMapModel, CellMapConfig


METHODS: dict[str, MethodEntry] = {
    "lewm": _lewm,
    "ijepa": _ijepa,
    "vjepa2": _vjepa2,
    "vjepa2_1": _vjepa2_1,
    "vjepa2_ac": _vjepa2_ac,
    "lejepa": _lejepa,
    "levjepa": _levjepa,
    "causal_jepa": _causal_jepa,
    "hjepa": _hjepa,
    "cell_map": _cell_map,
}
