"""Clips of videos: which frames they hold, and batches of them."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from openjepa.data.images import MAX_PIXELS, label_tensor, read_image
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Content, FileItems, Items, list_files
from openjepa.data.sampling import DamageLog, Sampling, Slots
from openjepa.data.video_file import VideoFile
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import VideoBatch


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut from videos and become batches.

    Attributes:
        num_frames: frames T of a clip, >= 1.
        fps: frames per second of the clip, whatever the file's; None to count frames by `stride`.
        stride: every how many frames of the file; only without `fps`.
        size: side of the square picture in pixels; the centre square of the frame.
        batch_size: clips of a global batch, over all processes, >= 1.
        clips_per_video: clips cut from each drawn video; `batch_size` is a multiple of it.
        frame_indices: `exact` keeps the step between frames, every possible start included; `reference` is
            V-JEPA's published rule (the step is window / (frames - 1), the last start is never drawn).
        min_frames: videos with fewer count as damaged, >= 1. A video that is longer than this, but shorter
            than the clip, repeats its last frame.
        sampling: `epoch` shows every video once before any comes again, `uniform` draws with replacement.
        seed: of the drawing, >= 0.
        max_damaged_share: share of undecodable videos beyond which the run stops, in [0, 1].
        num_threads: decoding threads; 0 decodes in the calling thread.
    """

    num_frames: int = 16
    fps: float | None = 4.0
    stride: int | None = None
    size: int = 64
    batch_size: int = 24
    clips_per_video: int = 1
    frame_indices: Literal["exact", "reference"] = "exact"
    min_frames: int = 2
    sampling: Sampling = "epoch"
    seed: int = 0
    max_damaged_share: float = 0.01
    num_threads: int = 0

    def __post_init__(self) -> None:
        positive = ("num_frames", "size", "batch_size", "clips_per_video", "min_frames")
        for name in positive:
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        if (self.fps is None) == (self.stride is None):
            raise ConfigError(
                f"one of `fps` and `stride` must be given; got {self.fps} and {self.stride}. Set the other to None."
            )
        if (self.fps is not None and self.fps <= 0) or (self.stride is not None and self.stride < 1):
            raise ConfigError(f"`fps` must be > 0 and `stride` >= 1; got {self.fps} and {self.stride}.")
        if self.batch_size % self.clips_per_video:
            raise ConfigError(
                f"`batch_size` must be a multiple of `clips_per_video` {self.clips_per_video}; got {self.batch_size}."
            )
        if self.frame_indices not in ("exact", "reference"):
            raise ConfigError(f"`frame_indices` must be exact or reference; got {self.frame_indices}.")
        if self.num_threads < 0 or self.seed < 0:
            raise ConfigError(f"`num_threads` and `seed` must be >= 0; got {self.num_threads}, {self.seed}.")


class VideoSource:
    """Batches of clips; a `BatchSource`: batch `step` is a pure function of its number.

    A picture among the videos becomes a still clip (V-JEPA 2 mixes both, 2506.09985).

    Args:
        items: files, shards or a data set.
        config: clips, batch and sampling.
        weights: probability of each video up to a factor, with `sampling` uniform; see `mixture_weights`.
        ends: [N] seconds of each video that clips are cut from, counted from its first frame; None for all.
    """

    def __init__(
        self,
        items: Items,
        config: ClipConfig | None = None,
        weights: np.ndarray | None = None,
        ends: np.ndarray | None = None,
    ) -> None:
        self.items, self.config, self.ends = items, config or ClipConfig(), ends
        c = self.config
        self.slots = Slots(
            items,
            batch_size=c.batch_size // c.clips_per_video,
            sampling=c.sampling,
            seed=c.seed,
            max_damaged_share=c.max_damaged_share,
            num_threads=c.num_threads,
            weights=weights,
        )

    @property
    def damage(self) -> DamageLog:
        """The videos that could not be decoded so far."""
        return self.slots.damage

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> VideoBatch:
        """Returns this rank's share of batch `step`: clips [B, T, 3, size, size] uint8, labels [B] or None.

        The clips of one video are neighbours.
        """
        read = self.slots.read(step, rank, world_size, self._read)
        labels = [self.items.label(i) for i, _ in read for _ in range(self.config.clips_per_video)]
        return VideoBatch(torch.from_numpy(np.concatenate([clips for _, clips in read])), label_tensor(labels))

    def _read(self, index: int, draws: np.random.Generator) -> np.ndarray:
        """Clips [clips_per_video, T, 3, size, size] at random positions."""
        c, content = self.config, self.items.content(index)
        if is_picture(content):
            still = read_image(content, c.size)
            return np.broadcast_to(still, (c.clips_per_video, c.num_frames, *still.shape))
        with open_video(content, self.items.name(index), c.min_frames) as video:
            end = np.inf if self.ends is None else float(self.ends[index])
            return np.stack([video.read(draw_clip(c, video, draws, end), c.size) for _ in range(c.clips_per_video)])


def video_folder(root: Path | str, *, labels: bool = False) -> FileItems:
    """Lists the videos of a folder; with `labels`, the first folder below it is the class."""
    return list_files(root, VIDEO_SUFFIXES, labels_from_folders=labels)


def is_picture(content: Content) -> bool:
    """Whether a sample is a still picture: a decoded one, or a file that is named like one."""
    if isinstance(content, Path):
        return content.suffix.lower() in IMAGE_SUFFIXES
    return not isinstance(content, bytes)


def open_video(content: Content, name: str, min_frames: int = 1) -> VideoFile:
    """Opens a video and refuses one that is too short.

    Args:
        content: path or bytes.
        name: what errors call it.
        min_frames: fewest frames that are shown; 0 counts none.

    Raises:
        DataError: for a file that is no video, or has fewer than `min_frames`.
    """
    if not isinstance(content, (Path, bytes)):
        raise DataError(f"`{name}` must be a video file; got {type(content).__name__}.")
    video = VideoFile(content, name=name, max_pixels=MAX_PIXELS)
    try:
        count = video.num_frames if min_frames else 0
    except DataError:
        video.close()
        raise
    if count < min_frames:
        video.close()
        raise DataError(
            f"`{name}` must have at least {min_frames} frames; it has {count}. Treat it as a picture, or remove it."
        )
    return video


def video_seconds(items: Items, *, exact: bool) -> np.ndarray:
    """How long every video lasts, [N] seconds; NaN for a picture, and for what cannot be opened.

    Args:
        items: files, shards or a data set.
        exact: count what is shown, which may read a file from end to end; else believe its header.
    """
    seconds = np.full(len(items), np.nan)
    for i in range(len(items)):
        content = items.content(i)
        if is_picture(content):
            continue
        with suppress(DataError), open_video(content, items.name(i), min_frames=0) as video:
            seconds[i] = video.seconds if exact else video.header_seconds()
    return seconds


def draw_clip(config: ClipConfig, video: VideoFile, draws: np.random.Generator, end: float = np.inf) -> np.ndarray:
    """Draws a clip of a video and returns moments [T] in the middle of its frames, in seconds.

    What counts frames of the file counts them where they stand; their rate may vary.

    Args:
        config: length and step.
        video: opened.
        draws: random numbers.
        end: second of the video before which the clip ends.
    """
    fps = video.fps
    count = min(video.num_frames, max(1, int(end * fps))) if np.isfinite(end) else video.num_frames
    times = np.minimum(clip_times(config, count, fps, draws), (count - 0.5) / fps)
    if config.stride is None and config.frame_indices == "exact":
        return times
    return video.middles(np.floor(times * fps).astype(int))


def clip_times(config: ClipConfig, num_frames: int, fps: float, draws: np.random.Generator) -> np.ndarray:
    """Draws a clip of a video of constant rate and returns moments [T] in the middle of its frames, in seconds."""
    if config.frame_indices == "reference":
        stride = config.stride or max(1, int(np.ceil(fps) // (config.fps or 1)))
        return (reference_frame_indices(num_frames, config.num_frames, stride, draws) + 0.5) / fps
    step = config.stride / fps if config.stride else 1 / (config.fps or 1)
    span = int(np.ceil((config.num_frames - 1) * step * fps - 1e-6))  # frames from the first to the last
    start = int(draws.integers(max(num_frames - span, 1)))
    return (start + 0.5) / fps + step * np.arange(config.num_frames)


def reference_frame_indices(num_frames: int, clip_frames: int, stride: int, draws: np.random.Generator) -> np.ndarray:
    """Frame numbers [T] of a clip by V-JEPA's published rule, defects included (2404.08471, 2506.09985).

    The window has clip_frames * stride frames, its end is drawn exclusive of the last valid value, and T
    numbers are spread evenly over it, both ends included, so that the step is window / (T - 1).
    """
    window = clip_frames * stride
    if num_frames <= window:
        spread = np.linspace(0, num_frames, max(num_frames // stride, 1))
        spread = np.concatenate([spread, np.full(clip_frames, num_frames)])[:clip_frames]
        return np.clip(spread, 0, num_frames - 1).astype(np.int64)
    end = int(draws.integers(window, num_frames))
    return np.clip(np.linspace(end - window, end, clip_frames), end - window, end - 1).astype(np.int64)
