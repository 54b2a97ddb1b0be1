"""What I-JEPA, V-JEPA 2 and 2.1 are made of: an encoder that learns, its average that gives targets, a predictor."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer
from openjepa.nn.ema import ema_decay_at, update_ema

Config = TypeVar("Config", bound=Any)


class WithTargetEncoder(nn.Module, Generic[Config]):
    """Context encoder, predictor and target encoder, whose first weights are those of the context encoder.

    Args:
        config: with `encoder`, `predictor`, `ema_decay`, `ema_steps` and `seed`.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):  # layers draw weights that are thrown away
            self.context_encoder = VisionTransformer(config.encoder, generator=generator)
            self.predictor = MaskedPredictor(config.predictor, generator=generator)
            self.target_encoder = copy.deepcopy(self.context_encoder).requires_grad_(False)

    def after_step(self, step: int) -> None:
        """Moves the target encoder towards the context encoder."""
        start, end = self.config.ema_decay
        decay = ema_decay_at(step, start=start, end=end, total_steps=self.config.ema_steps)
        update_ema(self.target_encoder, self.context_encoder, decay)
