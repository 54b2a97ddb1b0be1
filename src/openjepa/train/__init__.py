"""Training: one loop for every method, with schedules, checkpoints, and several processes."""

from openjepa.train.checkpoint import find_checkpoint, load_method, save_checkpoint
from openjepa.train.config import TrainConfig
from openjepa.train.loop import RunResult, train

__all__ = ["RunResult", "TrainConfig", "find_checkpoint", "load_method", "save_checkpoint", "train"]
