"""The generative and policy rivals, under the same contracts.

`RIVALS` is the table that reopens their checkpoints, as `METHODS` does for the methods: a rival that is trained by
the same loop adds one function and one line.
"""

from collections.abc import Callable

RivalEntry = Callable[[], tuple[type, type]]


def _inverse_dynamics() -> tuple[type, type]:
    from openjepa.baselines.inverse_dynamics import InverseDynamics, InverseDynamicsConfig

    return InverseDynamics, InverseDynamicsConfig


def _next_token() -> tuple[type, type]:
    from openjepa.baselines.next_token import NextToken, NextTokenConfig

    return NextToken, NextTokenConfig


def _pixel_prediction() -> tuple[type, type]:
    from openjepa.baselines.pixel_prediction import PixelPrediction, PixelPredictionConfig

    return PixelPrediction, PixelPredictionConfig


def _masked_autoencoder() -> tuple[type, type]:
    from openjepa.baselines.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig

    return MaskedAutoencoder, MaskedAutoencoderConfig


RIVALS: dict[str, RivalEntry] = {
    "inverse_dynamics": _inverse_dynamics,
    "next_token": _next_token,
    "pixel_prediction": _pixel_prediction,
    "masked_autoencoder": _masked_autoencoder,
}
