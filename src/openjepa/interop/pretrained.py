"""Our own folders: `openjepa.json` (what the network is) beside `model.safetensors`, here or on the Hub."""

import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError, did_you_mean, require
from openjepa.interop.state_files import build, read_file, read_json
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig
from openjepa.models.attentive_probe import AttentiveProbe, AttentiveProbeConfig
from openjepa.models.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from openjepa.models.vit import VisionTransformer, ViTConfig
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


def save_pretrained(network: nn.Module, folder: Path | str) -> Path:
    """Writes a network so that `from_pretrained` reopens it without any other file.

    Raises:
        ConfigError: for a network that is not one of ours.
    """
    name = next((n for n, (kind, _) in NETWORKS.items() if type(network) is kind), None)
    if name is None:
        raise ConfigError(f"`network` must be one of {', '.join(NETWORKS)}; got {type(network).__name__}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = network.config
    tensors = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    description = {"network": name, "config": to_dict(config), "openjepa": __version__}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return folder


def from_pretrained(source: Path | str, *, revision: str | None = None) -> nn.Module:
    """Reopens what `save_pretrained` or `push_to_hub` wrote, in evaluation mode.

    Args:
        source: a folder, or `owner/name` of a repository on the Hub.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: for anything missing, damaged, unexpected or of another shape.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not names_repository(str(source)):
            raise not_there(str(source))
        folder = hub_folder(str(source), [DESCRIPTION, WEIGHTS], revision=revision)
    description = read_json(folder / DESCRIPTION)
    name = description.get("network")
    if name not in NETWORKS:
        raise CheckpointError(f"{folder / DESCRIPTION}: `network` must be one of {', '.join(NETWORKS)}; got {name}.")
    kind, config_kind = NETWORKS[name]
    try:
        config: Any = from_dict(config_kind, description["config"])
    except (ConfigError, KeyError, TypeError) as error:
        written = description.get("openjepa", "?")
        raise CheckpointError(
            f"{folder / DESCRIPTION}: {error} It was written by openjepa {written}, this is {__version__}."
        ) from error
    return build(kind, config, read_file(folder / WEIGHTS), source=str(folder))


def push_to_hub(
    network: nn.Module, repo_id: str, folder: Path | str, *, private: bool = True, card: str | None = None
) -> str:
    """Uploads a network to the Hub, private unless said otherwise.

    Args:
        network: one of ours.
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
        why = str(error).splitlines()[0].rstrip(".")
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
        why = str(error).splitlines()[0].rstrip(".")
        remedy = "Fetch it once without `offline`." if offline else "Check the name, the network and your access."
        raise CheckpointError(f"`{repo_id}` cannot be fetched from the Hub ({why}). {remedy}") from error


def _hub(reason: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise require("huggingface_hub", "hub", reason) from None
    return huggingface_hub


def _card(repo_id: str, network: nn.Module) -> str:
    lines = [
        "---",
        "library_name: openjepa",
        "---",
        "",
        f"# {repo_id}",
        "",
        f"A `{type(network).__name__}`.",
        "",
    ]
    use = ["```python", "import openjepa", "", f'model = openjepa.load("{repo_id}")', "```", ""]
    return "\n".join(lines + use)
