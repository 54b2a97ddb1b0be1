"""`openjepa verify`, `convert`, `embed`, `search`, `features` and `probe`: official weights, and what encoders see."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from openjepa.command_line.command import OK
from openjepa.command_line.options import FLAT
from openjepa.config import alike
from openjepa.errors import ConfigError

if TYPE_CHECKING:
    from openjepa.eval.embedding.ray_engine import RayEngine
    from openjepa.eval.probing.frozen_encoder import FrozenEncoder
    from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, ProbeReport

MODEL = "--model NAME_OR_PATH"  # as the usage of a command shows it


@dataclass(frozen=True)
class VerifyOptions:
    """Options of `verify`."""

    folder: tyro.conf.Positional[Path | None] = None  # of a case: case.json, checkpoint, inputs, outputs; or of several
    claims: bool = False  # instead: every measured number of the documentation of the repository here, or in `folder`


def verify(options: VerifyOptions) -> int:
    """Recomputes a recorded case, or lists claims; status 1 where something is beyond its tolerance, or differs."""
    if options.claims:
        from openjepa.parity.claims import run as list_claims

        return list_claims(str(options.folder or "."))
    if options.folder is None:
        raise ConfigError("`openjepa verify` needs the folder of a recorded case, or `--claims`; got neither.")
    from openjepa.parity.verify import run

    return run(str(options.folder))


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `convert`."""

    source: tyro.conf.Positional[Path]  # a file of Meta's, a Hugging Face folder, a folder of ours, or a run
    destination: tyro.conf.Positional[Path]  # a file for meta, else a folder; must not exist
    to: Literal["meta", "huggingface", "openjepa"]  # the layout to write
    name: str | None = None  # the published model, where Meta's file does not say which it is


def convert(options: ConvertOptions) -> int:
    """Writes the same networks in another layout."""
    from openjepa.interop.convert import run

    return run(str(options.source), str(options.destination), options.to, name=options.name)


@dataclass(frozen=True)
class EncoderOptions:
    """How the encoder of `--model` is loaded; see `openjepa.load`."""

    weights: Path | None = None  # the file of a published model, if it is on the disk already
    part: Literal["target_encoder", "context_encoder"] | None = None  # None = the averaged one where there are two
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto = a GPU where there is one
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16 computes under autocast
    offline: bool = False  # fetch nothing, fail instead


@dataclass(frozen=True)
class EngineOptions:
    """Who computes: this process, or workers on a cluster."""

    engine: Literal["process", "ray"] = "process"  # ray = workers of a Ray cluster compute, this process writes
    address: str | None = None  # ray: HOST:PORT of the head, or auto; None starts a cluster of this machine alone
    workers: int | None = None  # ray: processes; None = as many as there is room for
    cpus_per_worker: int = 1  # ray: cores, and threads, of each
    gpus_per_worker: float = 0.0  # ray: GPUs of each, a fraction shares one; 0 computes on the CPU


Model = Annotated[str, tyro.conf.arg(metavar="MODEL")]
Loading = Annotated[EncoderOptions, tyro.conf.arg(name="")]
Computing = Annotated[EngineOptions, tyro.conf.arg(name="")]


def open_engine(options: EngineOptions) -> "RayEngine | None":
    """Returns the engine that was asked for; None for this process.

    Raises:
        ConfigError: for options of a cluster without `--engine ray`.
        MissingDependencyError: where Ray is not installed.
    """
    if options.engine == "process":
        if options != EngineOptions():
            raise ConfigError("options of a cluster need `--engine ray`; got engine process. Add it.")
        return None
    from openjepa.eval.embedding.ray_engine import RayConfig, RayEngine

    return RayEngine(RayConfig(options.address, options.workers, options.cpus_per_worker, options.gpus_per_worker))


def open_encoder(model: str, options: EncoderOptions) -> "FrozenEncoder":
    """Loads an encoder by its published name, its path or its place on the Hub, and freezes it.

    Raises:
        ConfigError: for an unknown name, a device that is not there, or a network that is no encoder.
        CheckpointError: for a file that is missing, damaged, or of another model.
    """
    from openjepa.eval.probing.frozen_encoder import frozen
    from openjepa.interop import PUBLISHED, load
    from openjepa.models.vit import VisionTransformer
    from openjepa.train.device import pick_device

    device = pick_device(options.device)
    if options.weights is not None and model not in PUBLISHED:
        raise ConfigError(
            f"`--weights` goes with the name of a published model; got `{model}`. Give `--model` the path."
        )
    with _bar("B", unit_scale=True) as show:
        network = load(model, part=options.part, path=options.weights, offline=options.offline, progress=show)
    if not isinstance(network, VisionTransformer):
        raise ConfigError(
            f"`--model` must be an encoder of pictures or clips; `{model}` holds {type(network).__name__}. "
            "Give an I-JEPA or V-JEPA encoder."
        )
    return frozen(network, device=str(device), precision=options.precision)


def native_size(encoder: "FrozenEncoder", size: int | None) -> int:
    """Returns the side that was asked for, else the one that the encoder was trained on, in pixels."""
    if size is not None:
        if size < 1 or size % encoder.patch_size:  # before a folder is made for embeddings of this size
            raise ConfigError(f"`--size` must be a multiple of the patch of {encoder.patch_size} pixels; got {size}.")
        return size
    return int(min(encoder.network.config.img_size))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class EmbedOptions:
    """Options of `embed`."""

    path: tyro.conf.Positional[Path]  # a folder of pictures and videos, or one file
    model: Model  # a published name, a path in any layout, a training run, or owner/name on the Hub
    loading: Loading = field(default=EncoderOptions(), metadata={FLAT: True})
    computing: Computing = field(default=EngineOptions(), metadata={FLAT: True})
    out: Path = Path("embeddings")  # folder of the embeddings; an interrupted one is gone on with
    kind: Literal["auto", "images", "videos"] = "auto"  # auto takes both, by their endings
    view: Literal["clip", "per_frame", "prefix"] = "clip"  # prefix: every latent frame sees only what came before
    pooling: Literal["mean", "class", "dense"] = "mean"  # dense keeps the grid of tokens
    size: int | None = None  # side of the centre square in pixels; None = as trained
    num_frames: int = 16  # frames taken from a video
    fps: float | None = None  # frames per second they are apart; None spreads them over the video, or its moment
    every: float | None = None  # seconds from one moment of a video to the next; None = one row for all of it
    batch_size: int = 8  # files encoded together
    part_size: int = 64  # files of a part on disk; a kill loses at most the work of one
    format: Literal["parquet", "numpy"] = "parquet"  # of the parts
    dtype: Literal["float32", "float16"] = "float32"  # of the stored numbers
    num_threads: int = 2  # decoding threads
    max_damaged_share: float = 0.05  # undecodable files beyond which the work stops, 0 to 1


def embed(options: EmbedOptions) -> int:
    """Embeds every picture and video of a folder, or goes on where an earlier start was stopped."""
    from openjepa.eval.embedding.embed import EmbedConfig, compute_parts, run_embed

    _require_path(options.path)
    engine = open_engine(options.computing)
    encoder = open_encoder(options.model, options.loading)
    config = alike(EmbedConfig, options, output=options.out, size=native_size(encoder, options.size))
    with _bar("file") as show:
        report = run_embed(encoder, config, progress=show, engine=engine or compute_parts)
    print(report.text())
    if engine is not None and engine.replaced:
        print(f"{engine.replaced} workers died and were replaced; their parts were computed again")
    return OK


@dataclass(frozen=True)
class SearchOptions:
    """Options of `search`."""

    embeddings: tyro.conf.Positional[Path]  # folder that `openjepa embed` wrote
    query: tyro.conf.Positional[Path]  # an embedded file, or any other one, which needs --model
    model: Model | None = None  # the one that made the embeddings
    loading: Loading = field(default=EncoderOptions(), metadata={FLAT: True})
    k: int = 10  # neighbours shown
    moments: bool = False  # moments of one video compete; else its best one stands for it
    at: float | None = None  # second of the moment of an embedded video that is looked for; None = all of the file


def search(options: SearchOptions) -> int:
    """Prints the nearest neighbours of a file: cosine, moment, path."""
    from openjepa.eval.embedding.search import SearchConfig, run_search

    if options.model is None and options.loading != EncoderOptions():
        raise ConfigError("options of loading need a model to load; got none. Give it with --model.")
    config = SearchConfig(options.embeddings, options.query, options.k, options.moments, options.at)
    encoder = None if options.model is None else open_encoder(options.model, options.loading)
    print(run_search(config, encoder).text())
    return OK


@dataclass(frozen=True)
class FeaturesOptions:
    """Options of `features`."""

    path: tyro.conf.Positional[Path]  # a picture or a video
    model: Model  # a published name, a path in any layout, a training run, or owner/name on the Hub
    loading: Loading = field(default=EncoderOptions(), metadata={FLAT: True})
    out: Path | None = None  # .png, .gif or .mp4; None puts it beside the input
    size: int | None = None  # side given to the encoder in pixels, finer maps for larger ones; None = as trained
    num_frames: int = 16  # frames of a video, spread evenly over it
    fps: int = 8  # frames per second of the video written


def features(options: FeaturesOptions) -> int:
    """Draws the first three principal components of the tokens as colours, beside the input."""
    from openjepa.eval.probing.features import FeaturesConfig, run_features

    _require_path(options.path)
    encoder = open_encoder(options.model, options.loading)
    size = native_size(encoder, options.size)
    config = FeaturesConfig(options.path, options.out, size, options.num_frames, options.fps)
    print(run_features(encoder, config).text())
    return OK


@dataclass(frozen=True)
class ProbeOptions:
    """Options of `probe`."""

    train: tyro.conf.Positional[Path]  # folder of class folders, or a list of `path label` lines
    model: Model  # a published name, a path in any layout, a training run, or owner/name on the Hub
    loading: Loading = field(default=EncoderOptions(), metadata={FLAT: True})
    computing: Computing = field(default=EngineOptions(), metadata={FLAT: True})
    test: Path | None = None  # likewise; None holds out a share of the training files
    test_share: float = 0.2  # that share of every class, between 0 and 1
    probes: tuple[Literal["knn", "linear", "attentive"], ...] = ("knn", "linear")  # which, in this order
    task: Literal["classes", "anticipation"] = "classes"  # anticipation: the class is what happens at a video's end
    ahead: float = 1.0  # anticipation: seconds between the end of the clip and the end of its video
    fps: float = 8.0  # anticipation: frames per second of the clip
    mask_token: int = 0  # anticipation: 0 is the trained mask token, 1 that of published EK100 probes
    learning_rates: tuple[float, ...] | None = None  # attentive: a head for each, with each decay; None = published
    weight_decays: tuple[float, ...] | None = None  # attentive; None = published
    epochs: int = 20  # attentive: passes over the training files
    shots: int | None = None  # labels per class; None = all
    share: float | None = None  # share of the labels of every class, such as 0.01; only without --shots
    size: int | None = None  # side of the centre square in pixels; None = as trained
    num_frames: int = 16  # frames spread evenly over a video
    batch_size: int = 16  # files encoded together
    max_damaged_share: float = 0.05  # undecodable files beyond which the work stops, 0 to 1
    num_threads: int = 2  # decoding threads
    seed: int = 0  # of splits, choices and random weights


def probe(options: ProbeOptions) -> int:
    """Probes a frozen encoder, each number beside the same probe on random weights."""
    from openjepa.eval.probing.attentive_probe import PUBLISHED_DECAYS, PUBLISHED_RATES, AttentiveTrainConfig
    from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, run_probe
    from openjepa.eval.probing.probe_in_parts import run_probe_in_parts

    _require_path(options.train)
    if options.test is not None:
        _require_path(options.test)
    engine = open_engine(options.computing)
    if engine is not None and options.task == "anticipation":
        raise ConfigError("`--engine ray` goes with `--task classes`; got anticipation.")
    encoder = open_encoder(options.model, options.loading)
    heads = AttentiveTrainConfig(
        options.learning_rates or PUBLISHED_RATES, options.weight_decays or PUBLISHED_DECAYS, epochs=options.epochs
    )
    config = alike(FrozenProbeConfig, options, size=native_size(encoder, options.size), attentive=heads)
    say = partial(print, file=sys.stderr)
    if options.task == "anticipation":
        report = _anticipate(encoder, options, config)
    elif engine is not None:
        report = run_probe_in_parts(encoder, config, engine, progress=say)
    else:
        report = run_probe(encoder, config, progress=say)
    print(report.text())
    return OK


def _anticipate(encoder: "FrozenEncoder", options: ProbeOptions, files: "FrozenProbeConfig") -> "ProbeReport":
    """The anticipation probes, with the predictor that belongs to the encoder."""
    from openjepa.eval.probing.anticipation import EK100_DECAYS, AnticipationConfig, Forecaster, run_anticipation
    from openjepa.interop import load
    from openjepa.models.masked_predictor import MaskedPredictor

    if options.fps <= 0 or options.ahead < 0:
        raise ConfigError(f"`--fps` must be > 0 and `--ahead` >= 0; got {options.fps} and {options.ahead}.")
    loading = options.loading
    predictor = load(
        options.model, part="predictor", path=loading.weights, offline=loading.offline, device=encoder.device
    )
    if not isinstance(predictor, MaskedPredictor):
        raise ConfigError(f"`--model` must hold a predictor of hidden tokens; `{options.model}` holds another one.")
    heads = files.attentive if options.weight_decays else replace(files.attentive, weight_decays=EK100_DECAYS)
    ahead = round(options.ahead * options.fps)
    config = AnticipationConfig(ahead, options.batch_size, heads, seed=options.seed)
    forecaster = Forecaster(encoder, predictor, options.mask_token)
    return run_anticipation(forecaster, files, config, fps=options.fps, progress=partial(print, file=sys.stderr))


def _require_path(path: Path) -> None:
    """Refuses a mistyped path before a model of gigabytes is fetched."""
    if not path.exists():
        raise ConfigError(f"`{path}` must be a file or a folder; there is none. Check the path.")


@contextmanager
def _bar(unit: str, *, unit_scale: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal, made at the first report; nothing elsewhere."""
    from tqdm import tqdm

    bars: list[tqdm] = []

    def show(done: int, total: int | None) -> None:
        if not bars:
            bars.append(tqdm(total=total, unit=unit, unit_scale=unit_scale, file=sys.stderr, disable=None))
        bars[0].update(done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()
