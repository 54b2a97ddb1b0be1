"""Images, videos and trajectories: every set yields typed batches.

Stores are NumPy; what makes tensors of them is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from openjepa.data.episode_store import EpisodeStore
from openjepa.data.store_check import StoreReport, check, describe
from openjepa.data.store_repair import repair

if TYPE_CHECKING:
    from openjepa.data.windows import ColumnStatistics, WindowConfig, WindowSource, split, statistics

__all__ = [
    "ColumnStatistics",
    "EpisodeStore",
    "StoreReport",
    "WindowConfig",
    "WindowSource",
    "check",
    "describe",
    "repair",
    "split",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `openjepa.data` has no attribute `{name}`")
    from openjepa.data import windows

    value = getattr(windows, name)
    globals()[name] = value
    return value
