"""The generative and policy rivals, under the same contracts.

`RIVALS` is the table that reopens their checkpoints, as `METHODS` does for the methods: a rival that is trained by
the same loop adds one function and one line.
"""

from collections.abc import Callable

RivalEntry = Callable[[], tuple[type, type]]


def _masked_autoencoder() -> tuple[type, type]:
    from openjepa.baselines.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig

    return MaskedAutoencoder, MaskedAutoencoderConfig


RIVALS: dict[str, RivalEntry] = {
    "masked_autoencoder": _masked_autoencoder,
}
