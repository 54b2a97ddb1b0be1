"""Images, videos and trajectories: every set yields typed batches."""

from openjepa.data.episode_store import EpisodeStore
from openjepa.data.frame_statistics import FrameStatistics, frame_statistics
from openjepa.data.store_check import StoreReport, check, describe, repair
from openjepa.data.windows import ColumnStatistics, WindowConfig, WindowSource, split, statistics

__all__ = [
    "ColumnStatistics",
    "EpisodeStore",
    "FrameStatistics",
    "StoreReport",
    "WindowConfig",
    "WindowSource",
    "check",
    "describe",
    "frame_statistics",
    "repair",
    "split",
    "statistics",
]
