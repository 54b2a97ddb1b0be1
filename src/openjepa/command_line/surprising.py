"""`openjepa surprise`: what a video model finds implausible, in files, in public tests, or before a camera."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from openjepa.command_line.command import OK, SICK
from openjepa.command_line.options import FLAT
from openjepa.command_line.seeing import Model
from openjepa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from openjepa.eval.plausibility.conformal import Calibration
    from openjepa.eval.plausibility.energy import EnergyModel
    from openjepa.eval.plausibility.surprise import Verdict

PIECE = 2  # windows of a model that a piece of a long video lasts


@dataclass(frozen=True)
class JudgeOptions:
    """How the model is loaded; see `openjepa.load`."""

    weights: Path | None = None  # the file of a published model, if it is on the disk already
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto = a GPU where there is one
    offline: bool = False  # fetch nothing, fail instead


@dataclass(frozen=True)
class SurpriseOptions:
    """Options of `surprise`. Exit status: 0 nothing is surprising, 1 something is, 2 an error."""

    model: Annotated[Model, tyro.conf.Positional]  # a training run, a published name, or a path in any layout
    videos: tyro.conf.Positional[tuple[Path, ...]] = ()  # video files, folders of pictures, .npy files
    loading: Annotated[JudgeOptions, tyro.conf.arg(name="")] = field(default=JudgeOptions(), metadata={FLAT: True})
    calibrate: Path | None = (
        None  # score the possible clips of this folder (long videos in pieces), and keep the result
    )
    calibration: Path | None = None  # .json file or folder where it is, or goes; None = in the model's folder
    level: float = 0.05  # rate of false alarms, 0 to 1
    frame_step: int = 1  # take every so many frames of a video
    untrained: int = 20  # untrained networks beside it
    out: Path | None = None  # picture of the energy over time; None = surprise.png, "none" draws nothing
    json: bool = False  # print JSON
    benchmark: Literal["intphys", "intphys2", "inflevel", "grasp"] | None = None  # judge the pairs of a public test
    live: str | None = None  # a folder that receives clips or frames, or a camera such as /dev/video0
    idle: float | None = None  # with --live: stop after so many seconds without anything new; None = never


def surprise(options: SurpriseOptions) -> int:
    """Calibrates, judges clips or pairs, or watches; status 1 where something is surprising."""
    modes = [options.calibrate, options.benchmark, options.live]
    if sum(mode is not None for mode in modes) > 1:
        raise ConfigError("one of `--calibrate`, `--benchmark` and `--live` can be asked for at a time; got several.")
    if options.frame_step < 1 or options.untrained < 0:
        raise ConfigError("`--frame-step` must be at least 1 and `--untrained` at least 0.")
    if not options.videos and not any(modes):
        raise ConfigError("a clip must be named; got none. Give videos, or --calibrate, --benchmark or --live.")
    if options.benchmark is not None:
        return _benchmark(options)
    model, folder = open_judge(options.model, options.loading)
    place = options.calibration or folder
    if options.calibrate is not None:
        return _calibrate(options, model, place)
    from openjepa.eval.plausibility.conformal import load_calibration

    calibration = load_calibration(place)
    _check_protocol(options, model, calibration)
    if options.live is not None:
        return _watch(options, model, calibration)
    return _judge(options, model, calibration)


def open_judge(name: str, loading: JudgeOptions) -> tuple["EnergyModel", Path]:
    """Opens what can be surprised, and the folder that its calibration belongs in.

    Raises:
        ConfigError: for a model without a predictor of coming frames.
        CheckpointError: for a file that is missing, damaged, or of another model.
    """
    import torch

    from openjepa.eval.plausibility.energy import MaskedEnergy, energy_model
    from openjepa.interop.load import load_networks
    from openjepa.interop.networks import layout_of
    from openjepa.interop.registry import PUBLISHED
    from openjepa.train import load_method
    from openjepa.train.device import pick_device

    device = pick_device(loading.device)
    path = Path(name)
    if path.exists() and layout_of(path) == "run":
        return energy_model(load_method(path, device=device), name="model"), path if path.is_dir() else path.parent
    parts = {"target_encoder", "context_encoder", "predictor"}
    found = load_networks(name, parts=parts, path=loading.weights, offline=loading.offline)
    context, target = found.context_encoder or found.target_encoder, found.target_encoder or found.context_encoder
    if context is None or target is None or found.predictor is None:
        raise ConfigError(
            f"the model must have a predictor of coming frames to be surprised; `{name}` has none. Take a run of "
            "`openjepa train physics`, or a V-JEPA 2 file that holds its predictor."
        )
    networks = (n.to(device=device, dtype=torch.float32).eval() for n in (context, target, found.predictor))
    judge = MaskedEnergy(*networks)  # type: ignore[arg-type]
    folder = Path("calibrations") / name.replace("/", "-") if name in PUBLISHED or not path.is_dir() else path
    return judge, folder


def _calibrate(options: SurpriseOptions, model: "EnergyModel", place: Path) -> int:
    from openjepa.data.clips import list_clips, read_clips
    from openjepa.eval.plausibility.conformal import FEWEST
    from openjepa.eval.plausibility.surprise import TINTED, calibrate

    assert options.calibrate is not None
    clips = read_clips(
        options.calibrate,
        piece=PIECE * model.window,
        size=model.size,
        frame_step=options.frame_step,
        min_frames=model.window,
    )
    found = calibrate(
        model,
        clips,
        protocol={"frame_step": options.frame_step},
        networks=options.untrained,
        source=options.calibrate.name,
    )
    path = found.save(place)
    count = len(found.scores)
    if options.calibrate.is_dir() and count > len(list_clips(options.calibrate)):
        print("  pieces of one video are not scenes of their own: alarms are rated for what it shows", file=sys.stderr)
    print(f"calibrated on {count} possible clips, so alarms from level {1 / (count + 1):.3g} on: {path}")
    print(f"  {TINTED}: {found.alarms[TINTED]:.1%} of them would alarm at 5 % (new, yet possible)")
    if count < FEWEST:
        print(f"  warning: at least {FEWEST} clips are needed for alarms at 5 %", file=sys.stderr)
    return OK


def _check_protocol(options: SurpriseOptions, model: "EnergyModel", calibration: "Calibration") -> None:
    said = calibration.protocol
    if said.get("window") != model.window or said.get("rows") != list(model.rows):
        raise DataError("the calibration must be of this model; it is of another one. Calibrate again.")
    if said.get("frame_step", 1) != options.frame_step:
        raise ConfigError(
            f"`--frame-step` must be {said.get('frame_step', 1)} as in the calibration; got {options.frame_step}. "
            "Calibrate again for another one."
        )


def _judge(options: SurpriseOptions, model: "EnergyModel", calibration: "Calibration") -> int:
    from openjepa.data.clips import Clip
    from openjepa.eval.plausibility.surprise import judge, untrained_networks
    from openjepa.eval.plausibility.surprise_figures import draw_verdicts, strip_frames

    nets = untrained_networks(model, min(options.untrained, len(calibration.untrained)))
    found = []
    for video in options.videos:
        clip = Clip(video, size=model.size, frame_step=options.frame_step, min_frames=model.window)
        shown = strip_frames(len(clip))
        found.append(judge(model, clip, calibration, name=str(video), level=options.level, untrained=nets, keep=shown))
    picture = options.out or Path("surprise.png")
    if str(options.out) != "none":
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_verdicts(found, calibration).savefig(picture, dpi=130, facecolor="white")
    if options.json:
        print(json.dumps([v.as_json() for v in found], indent=2))
    else:
        _say(found, calibration, None if str(options.out) == "none" else picture)
    return SICK if any(v.is_surprising for v in found) else OK


def _say(found: list["Verdict"], calibration: "Calibration", picture: Path | None) -> None:
    for verdict in found:
        print(verdict.text())
    print(
        f"calibrated on {len(calibration.scores)} possible clips; alarm at p <= {found[0].level:g}. A high energy says "
        "that a clip is unlike those, not why: see the controls."
    )
    if picture is not None:
        print(f"picture: {picture}")


def _benchmark(options: SurpriseOptions) -> int:
    from openjepa.data.clips import read_clip
    from openjepa.data.plausibility_sets import find_pairs
    from openjepa.eval.plausibility.surprise import judge_pairs

    if len(options.videos) != 1 or options.benchmark is None:
        raise ConfigError(f"`--benchmark` needs one folder, that of the set; got {len(options.videos)}.")
    pairs = find_pairs(options.benchmark, options.videos[0])
    model, _ = open_judge(options.model, options.loading)
    scenes = {scene: i for i, scene in enumerate(dict.fromkeys(p.scene for p in pairs))}

    def read() -> Iterator[tuple]:
        for pair in pairs:
            clips = (
                read_clip(p, size=model.size, frame_step=options.frame_step, min_frames=model.window)
                for p in (pair.possible, pair.impossible)
            )
            yield *clips, pair.group, scenes[pair.scene]

    result = judge_pairs(model, read(), networks=options.untrained)
    if options.json:
        rows = {g: vars(i) | {"pairs": result.pairs[g]} for g, i in result.accuracy.items()}
        controls = {name: {g: vars(i) for g, i in by.items()} for name, by in result.controls.items()}
        print(json.dumps({"accuracy": rows, "controls": controls, "untrained": result.untrained}, indent=2))
        return OK
    for group, interval in result.accuracy.items():
        print(f"{group}: {interval.percent()} of {result.pairs[group]} pairs")
        for name, by in result.controls.items():
            print(f"  {name:<20} {by[group].percent()}")
        if group in result.untrained:
            mean, spread = result.untrained[group]
            print(f"  {'untrained networks':<20} {100 * mean:.1f} % (SD {100 * spread:.1f} over {options.untrained})")
    return OK


def _watch(options: SurpriseOptions, model: "EnergyModel", calibration: "Calibration") -> int:
    from openjepa.eval.plausibility.watch import watch

    assert options.live is not None
    alarms = 0
    for verdict in watch(
        options.live,
        model,
        calibration,
        level=options.level,
        frame_step=options.frame_step,
        idle=options.idle,
    ):
        alarms += verdict.is_surprising
        line = verdict.as_json() if options.json else None
        word = "SURPRISING" if verdict.is_surprising else "plausible"
        print(json.dumps(line) if line else f"{verdict.name}: {word}, p = {verdict.p_value:.3g}", flush=True)
    return SICK if alarms else OK
