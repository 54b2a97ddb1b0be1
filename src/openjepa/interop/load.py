"""`openjepa.load`: a network by name, by path, or from the Hub, ready to use."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from openjepa.errors import CheckpointError, ConfigError
from openjepa.interop import huggingface, meta_files, pretrained, sizes
from openjepa.interop.download import Expected, Progress, cache_folder, download
from openjepa.interop.networks import Networks, Part, layout_of, read_networks
from openjepa.interop.registry import PUBLISHED, Published, published
from openjepa.models.vit import VisionTransformer


def load(
    name: str | Path,
    *,
    part: Part | None = None,
    path: Path | str | None = None,
    source: Literal["meta", "huggingface"] = "meta",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    cache: Path | str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> nn.Module:
    """Loads one network in evaluation mode, strictly.

    >>> sorted(name for name in PUBLISHED if name.startswith("vjepa2-vit-large-256"))[0]
    'vjepa2-vit-large-256'

    Args:
        name: of a published model (`vjepa2-vit-large-256`), a path (Meta's file, a folder of Hugging Face or of
            ours, a training run), or `owner/name` on the Hub.
        part: which network. By default the encoder, and the averaged one (`target_encoder`) where there are two;
            `context_encoder`, `predictor`, `probe` or `action_predictor` on request.
        path: a file of this published model that is on the disk already; nothing is fetched.
        source: where a published model comes from. `huggingface` is smaller, but holds the context encoder.
        device: where it goes.
        dtype: of its parameters; float32 where None, whatever the file holds.
        cache: folder for downloads; see `cache_folder`.
        offline: use what is on the disk, fail otherwise.
        progress: called with bytes so far and in total.

    Raises:
        ConfigError: for an unknown name or part.
        CheckpointError: for a file that is missing, damaged, or of another model.
    """
    networks = load_networks(
        name,
        parts={"target_encoder", "probe"} if part is None else {part},
        path=path,
        source=source,
        cache=cache,
        offline=offline,
        progress=progress,
    )
    network = _choose(networks, part, str(name))
    return network.to(device=device, dtype=dtype or torch.float32).eval()


def load_networks(
    name: str | Path,
    *,
    parts: set[str] | None = None,
    path: Path | str | None = None,
    source: Literal["meta", "huggingface"] = "meta",
    cache: Path | str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Networks:
    """Loads the networks of a source together, on the CPU and as stored; arguments as in `load`.

    Args:
        name: as in `load`.
        parts: of a published model, only these; all where None. Other sources are read whole.
        path: as in `load`.
        source: as in `load`.
        cache: as in `load`.
        offline: as in `load`.
        progress: as in `load`.

    Raises:
        ConfigError: for an unknown name.
        CheckpointError: for a file that is missing, damaged, or of another model.
    """
    if isinstance(name, str) and name in PUBLISHED:
        entry = published(name)
        folder = None if cache is None else Path(cache)
        if path is None:
            path = _fetch(name, entry, source, folder, offline, progress)
        elif not Path(path).exists():
            raise CheckpointError(f"`{path}` does not exist. Give the path of the file of {name}.")
        networks = read_networks(path, entry.traits, parts=parts)
        _check_is(networks, name, entry, str(path))
        return networks
    if path is not None:
        raise ConfigError(f"`path` goes with the name of a published model; got {name}. Give the path alone.")
    return read_networks(_find(str(name), offline))


def _check_is(networks: Networks, name: str, entry: Published, source: str) -> None:
    """Refuses networks that are not those of a published name, whatever layout they came in.

    Raises:
        CheckpointError: naming what differs.
    """
    if (networks.probe is not None) != (entry.kind == "probe"):
        found = "a probe" if networks.probe is not None else "no probe"
        raise CheckpointError(f"{source} holds {found}; {name} is another model. Give the file of {name}.")
    size = next((s for s in sizes.NAMES.values() if f"-{s.replace('_', '-')}" in name), None)
    wanted = {} if size is None else dict(zip(("embed_dim", "depth"), sizes.shape_of(size), strict=True))
    kind = {} if entry.kind == "probe" else meta_files.options(entry.traits)
    for part, network in networks.parts().items():
        config = network.config
        expected = wanted | kind if isinstance(network, VisionTransformer) else {}
        if part == "probe":
            expected = {"embed_dim": wanted["embed_dim"]} if wanted else {}
        for key, value in expected.items():
            if getattr(config, key) != value:
                raise CheckpointError(
                    f"{source} [{part}]: `{key}` must be {value} for {name}; the file has {getattr(config, key)}. "
                    "This is a checkpoint of another model."
                )


def _find(name: str, offline: bool) -> Path:
    """The file or folder of a name: a path, or `owner/name` on the Hub where nothing on the disk is meant.

    Raises:
        ConfigError: for a word that is neither a path nor a published model.
        CheckpointError: for a path that is not there, with the nearest name beside it.
    """
    local = Path(name)
    if local.exists():
        return local
    if local.name == name and not local.suffix:
        published(name)  # words the error, with the nearest name
    if pretrained.names_repository(name):
        return _fetch_repository(name, offline)
    raise pretrained.not_there(name)


def _choose(networks: Networks, part: Part | None, name: str) -> nn.Module:
    parts = networks.parts()
    if part is None:
        order: tuple[Part, ...] = (
            "target_encoder",
            "context_encoder",
            "probe",
            "predictor",
            "action_predictor",
        )
        part = next((p for p in order if p in parts), None)
    if part is None or part not in parts:
        raise ConfigError(
            f"{name} has no `{part}`; it has {', '.join(parts) or 'nothing'}. A run or a published file has all parts."
        )
    return parts[part]


def _fetch(
    name: str,
    entry: Published,
    source: str,
    cache: Path | None,
    offline: bool,
    progress: Progress | None,
) -> Path:
    if source == "huggingface":
        if entry.hub is None:
            raise ConfigError(f"{name} is not on the Hub in the Hugging Face layout. Use source `meta`.")
        return _fetch_repository(entry.hub, offline)
    if source != "meta" or entry.url is None:
        raise ConfigError(f"`source` must be meta or huggingface; got {source}.")
    file = (cache or cache_folder()) / name / entry.url.rsplit("/", 1)[1]
    return download(entry.url, file, Expected(entry.num_bytes, entry.sha256), offline=offline, progress=progress)


def _fetch_repository(repo_id: str, offline: bool) -> Path:
    files = [huggingface.CONFIG, "*.safetensors", huggingface.INDEX, pretrained.DESCRIPTION]
    folder = pretrained.hub_folder(repo_id, files, offline=offline)
    layout_of(folder)
    return folder
