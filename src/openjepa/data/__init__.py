"""Images, videos and trajectories: every set yields typed batches.

What is asked for is imported then: stores are NumPy, and what makes tensors of them is PyTorch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openjepa.data.episode_store import EpisodeStore
    from openjepa.data.store_check import StoreReport, check, describe
    from openjepa.data.store_repair import repair
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
    module: Any
    if name == "EpisodeStore":
        from openjepa.data import episode_store as module
    elif name == "repair":
        from openjepa.data import store_repair as module
    elif name in ("StoreReport", "check", "describe"):
        from openjepa.data import store_check as module
    else:
        from openjepa.data import windows as module
    value = getattr(module, name)
    globals()[name] = value
    return value
