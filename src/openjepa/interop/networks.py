"""All networks of one source, whatever its layout: Meta's, Hugging Face's, ours, or a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from openjepa.errors import CheckpointError, ConfigError
from openjepa.interop import huggingface, meta_files, pretrained, sizes
from openjepa.interop.key_maps import META_ENCODER, to_ours
from openjepa.interop.probes import load_probe
from openjepa.interop.state_files import check_finite, read_file, read_json, section
from openjepa.interop.traits import Traits
from openjepa.interop.vjepa2_ac import load_action_predictor
from openjepa.models.action_predictor import PoseActionPredictor
from openjepa.models.attentive_probe import AttentiveProbe
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer
from openjepa.train.checkpoint import METHOD, MODEL, load_method

PART_OF: dict[type[nn.Module], str] = {
    VisionTransformer: "context_encoder",
    MaskedPredictor: "predictor",
    AttentiveProbe: "probe",
    PoseActionPredictor: "action_predictor",
}

Layout = Literal["meta", "huggingface", "openjepa", "run"]
Part = Literal["target_encoder", "context_encoder", "predictor", "probe", "action_predictor"]


@dataclass
class Networks:
    """What a source holds; None where it does not. A source with a single encoder has no `target_encoder`."""

    context_encoder: nn.Module | None = None
    target_encoder: nn.Module | None = None
    predictor: nn.Module | None = None
    action_predictor: nn.Module | None = None
    probe: nn.Module | None = None

    def parts(self) -> dict[str, nn.Module]:
        """The networks that are there, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: network for name, network in named.items() if network is not None}


def layout_of(path: Path) -> Layout:
    """Tells the layout of a file or folder.

    Raises:
        CheckpointError: when it is none that we know.
    """
    if path.is_file():
        return "run" if path.name in (MODEL, METHOD) and _is_run(path.parent) else "meta"
    if (path / pretrained.DESCRIPTION).is_file() or any(
        (path / f.name / pretrained.DESCRIPTION).is_file() for f in fields(Networks)
    ):
        return "openjepa"
    if (path / huggingface.CONFIG).is_file() and "model_type" in read_json(path / huggingface.CONFIG):
        return "huggingface"
    if _is_run(path):
        return "run"
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. Give a file, a folder, or the name of a published model.")
    raise CheckpointError(
        f"{path} holds none of `openjepa.json`, `config.json` with a `model_type`, `checkpoints`: no model."
    )


def read_networks(path: Path | str, traits: Traits | None = None, *, parts: set[str] | None = None) -> Networks:
    """Reads the networks of a source, strictly.

    Args:
        path: a file or folder of any layout.
        traits: what Meta's files do not say; told from the tensors where None and where that is possible.
        parts: only these; all where None.

    Raises:
        CheckpointError: for anything missing, damaged, unexpected or of another shape.
    """
    path = Path(path)
    layout = layout_of(path)
    if layout == "meta":
        return _read_meta(path, traits, parts)
    if layout == "huggingface":
        model = huggingface.load_folder(path)
        return Networks(context_encoder=model.encoder, predictor=model.predictor, probe=model.probe)
    if layout == "run":
        return networks_of(load_method(path), str(path))
    if (path / pretrained.DESCRIPTION).is_file():
        network = pretrained.from_pretrained(path)
        part = PART_OF.get(type(network))
        return networks_of(network, str(path)) if part is None else Networks(**{part: network})
    folders = [f.name for f in fields(Networks) if (path / f.name).is_dir()]
    return Networks(**{name: pretrained.from_pretrained(path / name) for name in folders})


def guess_traits(content: Mapping[str, Any], source: str) -> Traits:
    """Tells what can be told of a Meta file from its tensors: only published sizes have known head counts.

    Raises:
        CheckpointError: when the file fits no published size, or more than one model.
    """
    key = next((k for k in ("target_encoder", "ema_encoder", "encoder") if k in content), "encoder")
    state = to_ours(section(content, key, source), META_ENCODER, source=source)
    kernel = sizes.shape(state, "patch_embed.proj.weight", source, (4, 5))
    depth = sizes.count(state, "blocks.")
    heads = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}.get(kernel[0])
    if (kernel[0], depth) not in sizes.NAMES or heads is None:
        raise CheckpointError(
            f"{source}: an encoder of width {kernel[0]} and depth {depth} is no published size, and its "
            "number of heads cannot be told from the file. Give its name or `traits`."
        )
    if len(kernel) == 4:
        side = round(sizes.shape(state, "pos_embed", source, (3,))[1] ** 0.5) * kernel[-1]
        heads = 16 if kernel[0] == 1408 else heads
        return Traits("ijepa", heads, (side, side), predictor_heads=heads)
    if "norms_block.0.weight" in state:
        levels = (11, 23, 37, 47) if depth == 48 else tuple(depth * (i + 1) // 4 - 1 for i in range(4))
        return Traits("vjepa2_1", heads, (384, 384), 64, level_layers=levels)
    if "pos_embed" in state:
        raise CheckpointError(
            f"{source}: `pos_embed` beside a video encoder may mean V-JEPA 1 or an old V-JEPA 2 file. "
            "Say which by name."
        )
    return Traits("vjepa2", heads, (256, 256), 64)


def _read_meta(path: Path, traits: Traits | None, parts: set[str] | None) -> Networks:
    content, source = read_file(path), str(path)
    if "classifiers" in content or "classifier" in content:
        return Networks(probe=load_probe(content, source=source)[0])
    traits = traits or guess_traits(content, source)
    wanted = parts or {f.name for f in fields(Networks)}
    found = Networks()
    has_average = "target_encoder" in content or "ema_encoder" in content
    if "target_encoder" in wanted and has_average:
        found.target_encoder = meta_files.load_encoder(content, traits, source=source)[0]
    if "context_encoder" in wanted and "encoder" in content:
        found.context_encoder = meta_files.load_encoder(content, traits, part="context_encoder", source=source)[0]
    state = section(content, "predictor", source) if "predictor" in content else {}
    if "action_encoder.weight" in state and wanted & {"predictor", "action_predictor"}:
        found.action_predictor = load_action_predictor(content, source=source)[0]
    elif state and "predictor" in wanted:
        encoder = found.target_encoder or found.context_encoder
        if encoder is None:
            encoder = meta_files.load_encoder(content, traits, source=source)[0]
        found.predictor = meta_files.load_predictor(content, traits, encoder, source=source)[0]  # type: ignore[arg-type]
    return found


def _is_run(path: Path) -> bool:
    return (path / METHOD).is_file() or (path / "checkpoints").is_dir()


def networks_of(method: nn.Module, source: str) -> Networks:
    """The networks of a method, by the names that methods give them.

    Raises:
        CheckpointError: for a method without an encoder.
    """
    own = {name: child for name, child in method.named_children() if not isinstance(child, nn.Identity)}  # "off"
    context, target = own.get("context_encoder", own.get("encoder")), own.get("target_encoder")
    if context is None and target is None:
        raise CheckpointError(f"{source}: {type(method).__name__} has no encoder that could be taken out.")
    for name, tensor in method.state_dict().items():
        check_finite(name, tensor, source=source)
    return Networks(context_encoder=context, target_encoder=target, predictor=own.get("predictor"))


def write_meta(networks: Networks, path: Path) -> None:
    """Writes Meta's container: `encoder`, `target_encoder`, `predictor`, with their prefix.

    Raises:
        ConfigError: for networks that Meta's code would read otherwise.
    """
    encoder = networks.target_encoder or networks.context_encoder
    if encoder is None:
        raise ConfigError("there must be an encoder to write Meta's layout; there is none.")
    traits = meta_files.traits_of(encoder, networks.predictor)  # type: ignore[arg-type]
    prefix = "module." if traits.family == "ijepa" else "module.backbone."
    content: dict[str, Any] = {"epoch": 0}
    for key, network in (
        ("encoder", networks.context_encoder),
        ("target_encoder", networks.target_encoder),
    ):
        if network is not None:
            content[key] = _prefixed(meta_files.encoder_to_meta(network, traits), prefix)  # type: ignore[arg-type]
    if networks.predictor is not None:
        tensors = meta_files.predictor_to_meta(networks.predictor, traits)  # type: ignore[arg-type]
        content["predictor"] = _prefixed(tensors, prefix)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def _prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor.detach().clone() for name, tensor in state.items()}
