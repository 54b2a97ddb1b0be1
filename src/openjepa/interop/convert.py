"""`openjepa convert SOURCE DESTINATION --to LAYOUT`: the same networks in another layout."""

import json
from pathlib import Path
from typing import Literal

import safetensors.torch

from openjepa.errors import CheckpointError, ConfigError, unknown
from openjepa.interop import huggingface, pretrained
from openjepa.interop.networks import Networks, read_networks, write_meta
from openjepa.interop.registry import published

Target = Literal["meta", "huggingface", "openjepa"]


def convert(
    source: Path | str,
    destination: Path | str,
    to: Target,
    *,
    name: str | None = None,
    encoder: Literal["target_encoder", "context_encoder"] = "target_encoder",
) -> Path:
    """Reads networks in any layout and writes them in another.

    Args:
        source: a file of Meta's, a Hugging Face folder, a folder of ours, or a training run.
        destination: a file for Meta's layout, else a folder. It must not exist.
        to: the layout to write.
        name: of the published model, where Meta's file is not a published size by itself.
        encoder: which one goes into the Hugging Face layout, which has room for one. Published Hub folders
            hold the context encoder.

    Returns:
        the destination.

    Raises:
        CheckpointError: for a source that is damaged or does not fit.
        ConfigError: for networks that the layout cannot express.
    """
    destination = Path(destination)
    if destination.exists():
        raise ConfigError(f"{destination} exists. Give another path, or remove it.")
    networks = read_networks(source, published(name).traits if name else None)
    if not networks.parts():
        raise CheckpointError(f"{source} holds no network.")
    if to == "meta":
        write_meta(networks, destination)
    elif to == "huggingface":
        _write_huggingface(networks, destination, encoder)
    elif to == "openjepa":
        for part, network in networks.parts().items():
            pretrained.save_pretrained(network, destination / part)
    else:
        raise unknown("layout", to, ("meta", "huggingface", "openjepa"))
    return destination


def run(source: str, destination: str, to: Target, *, name: str | None = None) -> int:
    """Converts and says what was written; returns the exit status."""
    written = convert(source, destination, to, name=name)
    parts = ", ".join(read_networks(written, published(name).traits if name else None).parts())
    print(f"{written}: {parts}, layout {to}")
    return 0


def _write_huggingface(networks: Networks, folder: Path, encoder: str) -> None:
    chosen = networks.parts().get(encoder) or networks.context_encoder or networks.target_encoder
    if chosen is None:
        raise ConfigError("there must be an encoder to write the Hugging Face layout; there is none.")
    kind = "vjepa2" if chosen.config.is_video else "ijepa"  # type: ignore[union-attr]
    model = huggingface.HuggingFaceModel(chosen, networks.predictor, networks.probe, kind)  # type: ignore[arg-type]
    config, tensors = huggingface.to_folder(model)
    folder.mkdir(parents=True)
    (folder / huggingface.CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, folder / huggingface.WEIGHTS, metadata={"format": "pt"})
