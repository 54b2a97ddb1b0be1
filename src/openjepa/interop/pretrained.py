"""Our own folders: `openjepa.json` (what the network is) beside `model.safetensors`, here or on the Hub."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError, brief, did_you_mean, listing, require
from openjepa.interop.state_files import build, check_finite, read_file, read_json, unwrap
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig
from openjepa.models.attentive_probe import AttentiveProbe, AttentiveProbeConfig
from openjepa.models.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from openjepa.models.vit import VisionTransformer, ViTConfig
from openjepa.train.checkpoint import build_method, describe_method, name_of_method
from openjepa.train.state import load_method_state, method_state
from openjepa.version import __version__

DESCRIPTION, WEIGHTS = "openjepa.json", "model.safetensors"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name
FILE_SUFFIXES = (".pt", ".pth", ".tar", ".safetensors", ".json", ".ckpt", ".bin")

NETWORKS: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "vision_transformer": (VisionTransformer, ViTConfig),
    "masked_predictor": (MaskedPredictor, MaskedPredictorConfig),
    "attentive_probe": (AttentiveProbe, AttentiveProbeConfig),
    "pose_action_predictor": (PoseActionPredictor, PoseActionPredictorConfig),
}
# Options that came after version 0.1.0: files that lack them mean the default. All others must be there.
ADDED_OPTIONS: frozenset[str] = frozenset()


def save_pretrained(network: nn.Module, folder: Path | str) -> Path:
    """Writes a network, or a whole method, so that `from_pretrained` reopens it without any other file.

    Args:
        network: of a class of `NETWORKS`, `METHODS` or `RIVALS`; a run is opened by `openjepa.load_method`.
        folder: created if missing.

    Raises:
        ConfigError: for a module that is not one of ours.
    """
    description = _describe(network)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(method_state(network), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return folder


def from_pretrained(source: Path | str, *, revision: str | None = None) -> nn.Module:
    """Reopens what `save_pretrained` or `push_to_hub` wrote, in evaluation mode.

    Args:
        source: a folder, or `owner/name` of a repository on the Hub.
        revision: branch, tag or commit on the Hub.

    Returns:
        the network, or the method: a `LeWM` comes back as the `LeWM` that it was.

    Raises:
        CheckpointError: for anything missing, damaged, unexpected or of another shape.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not names_repository(str(source)):
            raise not_there(str(source))
        folder = hub_folder(str(source), [DESCRIPTION, WEIGHTS], revision=revision)
    described = read_json(folder / DESCRIPTION)
    state = unwrap(read_file(folder / WEIGHTS), source=str(folder))
    if "method" not in described:
        kind, config = _network_of(described, folder / DESCRIPTION)
        return build(kind, config, state, source=str(folder))
    method = build_method(described, source=str(folder / DESCRIPTION))
    own = method.state_dict()
    for name, tensor in state.items():
        check_finite(name, tensor, source=str(folder))
        if name in own and tensor.is_floating_point() and own[name].is_floating_point():  # stored in half precision
            state[name] = tensor.to(own[name].dtype)
    load_method_state(method, state, source=str(folder / WEIGHTS))
    return method.eval()


def _describe(network: nn.Module) -> dict[str, Any]:
    """What `openjepa.json` says: the kind, the configuration, our version."""
    name = next((n for n, (kind, _) in NETWORKS.items() if type(network) is kind), None)
    if name is not None:
        config: Any = network.config
        return {"network": name, "config": to_dict(config), "openjepa": __version__}
    if name_of_method(type(network)) is None:
        raise ConfigError(
            f"`network` must be one of {listing(NETWORKS)}, or a method of ours such as LeWM; got "
            f"{type(network).__name__}."
        )
    return describe_method(network)


def _network_of(described: Mapping[str, Any], file: Path) -> tuple[type[nn.Module], Any]:
    """The class and the configuration of a network, which must be whole: a default would run, and be wrong."""
    name, values = described.get("network"), described.get("config")
    if name not in NETWORKS:
        raise CheckpointError(f"{file}: `network` must be one of {listing(NETWORKS)}; got {brief(name)}.")
    kind, config_kind = NETWORKS[name]
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{file} must hold the `config` of the network; it does not.")
    written = f"It was written by openjepa {brief(described.get('openjepa', '?'))}, this is {__version__}."
    if missing := [f.name for f in fields(config_kind) if f.name not in values and f.name not in ADDED_OPTIONS]:
        raise CheckpointError(f"{file}: `{missing[0]}` is missing from `config`. {written}")
    try:
        return kind, from_dict(config_kind, values)
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error} {written}") from error


def push_to_hub(
    network: nn.Module, repo_id: str, folder: Path | str, *, private: bool = True, card: str | None = None
) -> str:
    """Uploads a network or a whole method to the Hub, private unless said otherwise.

    Args:
        network: one of ours, as in `save_pretrained`.
        repo_id: `owner/name`; created if missing.
        folder: where the files are written before.
        private: whether a new repository is private.
        card: text of the README; a short one is written where None.

    Returns:
        the address of the commit.

    Raises:
        CheckpointError: where the Hub refuses or cannot be reached; the files stay in `folder`.
    """
    hub = _hub("upload models")
    folder = save_pretrained(network, folder)
    readme = folder / "README.md"
    if card is not None or not readme.exists():
        readme.write_text(card or _card(repo_id, network))
    files = [DESCRIPTION, WEIGHTS, "README.md"]
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repo_id, folder_path=str(folder), allow_patterns=files))
    except Exception as error:  # the client raises its own kinds for every cause
        why = brief(error, 120).rstrip(".")
        raise CheckpointError(
            f"`{repo_id}` cannot be uploaded ({why}). Check the name and your token; the files are in {folder}."
        ) from error


def names_repository(name: str) -> bool:
    """Whether a name that is not on the disk means `owner/name` on the Hub.

    A path that was mistyped must not be asked for in public: it has another form, the ending of a file, a folder
    on the disk before its last part, or it begins with `runs`, where commands put runs by default.
    """
    local = Path(name)
    has_form = REPOSITORY.fullmatch(name) and local.suffix not in FILE_SUFFIXES
    return bool(has_form) and not local.parent.exists() and local.parts[0] != "runs"


def not_there(name: str) -> CheckpointError:
    """Words the error for a path that is not on the disk, with the nearest name beside it."""
    folder = Path(name).parent
    beside = sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []
    hint = did_you_mean(str(Path(name)), beside)
    return CheckpointError(f"`{name}` does not exist{hint} Give a file, a folder, or the name of a published model.")


def hub_folder(repo_id: str, files: list[str], *, revision: str | None = None, offline: bool = False) -> Path:
    """Fetches files of a Hub repository and returns their folder; the Hub client resumes and caches.

    Raises:
        CheckpointError: when the repository or the network fails.
        MissingDependencyError: without `huggingface_hub`.
    """
    if repo_id.count("/") != 1:
        raise CheckpointError(f"{repo_id} is neither a folder nor `owner/name` of a repository on the Hub.")
    hub = _hub(f"fetch {repo_id}")
    try:
        return Path(hub.snapshot_download(repo_id, revision=revision, allow_patterns=files, local_files_only=offline))
    except Exception as error:  # the client raises its own kinds for every cause
        why = brief(error, 120).rstrip(".")
        remedy = "Fetch it once without `offline`." if offline else "Check the name, the network and your access."
        raise CheckpointError(f"`{repo_id}` cannot be fetched from the Hub ({why}). {remedy}") from error


def _hub(reason: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise require("huggingface_hub", "hub", reason) from None
    return huggingface_hub


def _card(repo_id: str, network: nn.Module) -> str:
    is_method = name_of_method(type(network)) is not None
    use = (
        f'from openjepa.interop import from_pretrained\n\nmethod = from_pretrained("{repo_id}")'
        if is_method
        else f'import openjepa\n\nmodel = openjepa.load("{repo_id}")'
    )
    head = f"---\nlibrary_name: openjepa\n---\n\n# {repo_id}\n\nA `{type(network).__name__}`.\n\n"
    return f"{head}```python\n{use}\n```\n"
