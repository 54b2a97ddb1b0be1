"""What a language model can do with video and any V-JEPA, without an agent: embed, search moments, be surprised.

A long video is done in parts of a few seconds of computing; the answer then holds a cursor, with which the next call
goes on. Vectors stay in the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from openjepa.data.clips import is_clip, read_clip, resize_frames
from openjepa.data.items import VIDEO_SUFFIXES
from openjepa.data.video_file import VideoFile
from openjepa.errors import DataError, brief
from openjepa.eval.embedding.search import nearest
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import EnergyModel
from openjepa.eval.plausibility.surprise import LEVEL, curves
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.serve.mcp import answers
from openjepa.serve.mcp.answers import Shown
from openjepa.serve.mcp.handles import Closing, Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.pictures import from_base64, strip
from openjepa.serve.mcp.work import Job

FRAMES = 16  # of a moment, at most
MOST_MOMENTS = 5000  # of one video: 20 MB of vectors of a large model
SHOWN = 6  # hits that are drawn


class Footage(Closing):
    """A clip that is read in parts: a video file, or frames that are there already.

    Args:
        source: of a video, or frames [T, 3, H, W] uint8.
        size: side of the centre square in pixels; None keeps the pictures whole.
    """

    def __init__(self, source: Path | np.ndarray, size: int | None) -> None:
        self.size = size
        self.frames: np.ndarray | None = None
        self.video: VideoFile | None = None
        if isinstance(source, np.ndarray):
            self.frames, self.count, self.fps = source, len(source), 1.0
        else:
            self.video = VideoFile(source)
            self.count, self.fps = self.video.num_frames, self.video.fps

    @property
    def seconds(self) -> float:
        """How long it is; frames without times count one each."""
        return self.count / self.fps

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """The frames [T, 3, H, W] that are shown at some moments [T]."""
        if self.video is not None:
            return self.video.read(seconds, self.size)
        assert self.frames is not None
        return self.frames[np.clip(seconds.astype(int), 0, self.count - 1)]

    def numbered(self, numbers: np.ndarray) -> np.ndarray:
        """The frames [T, 3, H, W] with some numbers [T]."""
        return self.at(numbers.astype(float) if self.video is None else self.video.middles(numbers))

    def close(self) -> None:
        """Closes the file."""
        if self.video is not None:
            self.video.close()


@dataclass
class Film(Closing):
    """A video that is being embedded: `vectors` are those of the moments so far, each `every` seconds."""

    footage: Footage
    every: float
    total: int
    vectors: list[np.ndarray] = field(default_factory=list)

    def close(self) -> None:
        """Closes the file."""
        self.footage.close()


@dataclass
class Judging(Closing):
    """A video that is being judged: the strangest piece so far."""

    footage: Footage
    pieces: list[int]  # first frames
    length: int
    done: int = 0
    score: float = -np.inf
    second: float = 0.0

    def close(self) -> None:
        """Closes the file."""
        self.footage.close()


class VideoTools:
    """The tools of a video model, for all clients.

    Args:
        shelf: where handles live.
        limits: of every client.
        encoder: that embeds; None where there is none.
        size: side of its pictures in pixels.
        judge: that is surprised, or why none is there.
        calibration: of the judge, or why there is none.
        media: folders whose clips clients may name.
    """

    def __init__(
        self,
        shelf: Shelf,
        limits: Limits,
        *,
        encoder: FrozenEncoder | None = None,
        size: int | None = None,
        judge: EnergyModel | str = "",
        calibration: Calibration | str = "",
        media: Sequence[Path] = (),
    ) -> None:
        self.shelf, self.limits, self.encoder, self.size = shelf, limits, encoder, size
        self.judge, self.calibration, self.media = judge, calibration, [folder.resolve() for folder in media]

    @torch.no_grad()
    def embed(
        self,
        job: Job,
        clip: str | None = None,
        pictures: Sequence[str] | None = None,
        every: float = 1.0,
        cursor: str | None = None,
    ) -> Shown[answers.Embedded]:
        """Embeds the moments of a video, as many as the time allows; a cursor goes on."""
        encoder = self._encoder()
        if cursor is None:
            if not 0.04 <= every <= 3600:
                raise DataError(f"`every` must be 0.04 to 3600 seconds; got {every:g}.")
            footage = self._footage(clip, pictures, self.size)
            total = max(1, int(footage.seconds / every + 1e-6))
            if total > MOST_MOMENTS:
                footage.close()
                raise DataError(f"a video may have {MOST_MOMENTS} moments; this one has {total}. Raise `every`.")
            cursor = self.shelf.open("embedding", Film(footage, every, total))
        elif clip is not None or pictures is not None:
            raise DataError("`clip` and `pictures` must be left out where a `cursor` goes on.")
        film = self.shelf.get(cursor, Film, "cursor")
        frames = FRAMES if encoder.takes_clips else 1
        while len(film.vectors) < film.total:
            done = len(film.vectors)
            job.progress(done, film.total, f"{done} of {film.total} moments")
            seen = film.footage.at(film.every * (done + (np.arange(frames) + 0.5) / frames))
            pixels = torch.from_numpy(seen)[None] if encoder.takes_clips else torch.from_numpy(seen)
            film.vectors.append(encoder.pooled(pixels)[0].cpu().numpy())
            if job.is_over():
                break
        count = len(film.vectors)
        rest = None if count == film.total else cursor
        seconds = min(count * film.every, film.footage.seconds)
        return Shown(answers.Embedded(cursor, count, seconds, film.footage.seconds, rest))

    @torch.no_grad()
    def search_moments(
        self,
        job: Job,
        embeddings: Sequence[str],
        picture: str | None = None,
        embedding: str | None = None,
        second: float | None = None,
        k: int = 5,
    ) -> Shown[answers.Found]:
        """Finds the moments of embedded videos that are most like a picture, a moment or a whole video."""
        if (picture is None) == (embedding is None):
            raise DataError("either `picture` or `embedding` must say what is looked for.")
        if not 1 <= len(embeddings) <= self.limits.episodes or not 1 <= k <= 100:
            raise DataError("`embeddings` must name 1 or more videos, and `k` be 1 to 100.")
        films = [(handle, self.shelf.get(handle, Film, "embeddings")) for handle in embeddings]
        rows = [(handle, film, i) for handle, film in films for i in range(len(film.vectors))]
        wanted = self._wanted(picture, embedding, second)
        near, scores = nearest(wanted[None], np.stack([film.vectors[i] for _, film, i in rows]), min(k, len(rows)))
        chosen = [rows[i] for i in near[0]]
        hits = [
            answers.Hit(handle, i * film.every, float(score))
            for (handle, film, i), score in zip(chosen, scores[0], strict=True)
        ]
        shown = [film.footage.at(np.array([(i + 0.5) * film.every]))[0] for _, film, i in chosen[:SHOWN]]
        alike = [one for one in shown if one.shape == shown[0].shape]
        return Shown(answers.Found(hits), strip(alike), "the moments found, the most similar first")

    @torch.no_grad()
    def surprise(
        self,
        job: Job,
        clip: str | None = None,
        pictures: Sequence[str] | None = None,
        cursor: str | None = None,
    ) -> Shown[answers.Surprise]:
        """How strange a clip is beside ordinary ones; a long video piece by piece, with a cursor."""
        judge, known = self._judge()
        step = int(known.protocol.get("frame_step", 1))
        if cursor is None:
            footage = self._footage(clip, pictures, judge.size)
            length = min(max(judge.window, int(known.protocol.get("length", judge.window))), footage.count // step)
            if length < judge.window:
                footage.close()
                raise DataError(
                    f"a clip must have at least {judge.window * step} frames for this model; it has {footage.count}."
                )
            starts = list(range(0, footage.count - length * step + 1, length * step))
            cursor = self.shelf.open("judging", Judging(footage, starts, length))
        elif clip is not None or pictures is not None:
            raise DataError("`clip` and `pictures` must be left out where a `cursor` goes on.")
        state = self.shelf.get(cursor, Judging, "cursor")
        while state.done < len(state.pieces):
            job.progress(state.done, len(state.pieces), f"{state.done} of {len(state.pieces)} pieces")
            first = state.pieces[state.done]
            frames = state.footage.numbered(first + step * np.arange(state.length))
            energy = curves(judge, frames[None])[0]
            at = int(np.nanargmax(energy))
            if energy[at] > state.score:
                frame = first + step * int(judge.positions(state.length)[at])
                state.score, state.second = float(energy[at]), frame / state.footage.fps
            state.done += 1
            if job.is_over():
                break
        p = min(1.0, state.done * known.p_value(state.score))  # the strangest of so many
        rest = None if state.done == len(state.pieces) else cursor
        found = answers.Surprise(p, p <= LEVEL, state.score, len(known.scores), state.second, state.done, rest)
        picture = state.footage.at(np.array([state.second]))[0]
        if rest is None:
            self.shelf.forget(cursor)
        return Shown(found, picture, "the strangest moment so far")

    def distance(self, job: Job, first: str, second: str) -> Shown[answers.Distance]:
        """How far two embedded videos are from each other."""
        one, other = (
            np.mean(self.shelf.get(handle, Film, name).vectors, 0)
            for handle, name in ((first, "first"), (second, "second"))
        )
        cosine = float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))
        return Shown(answers.Distance(1 - cosine, "1 - cosine", float(np.linalg.norm(one - other))))

    def clips(self) -> list[str]:
        """Names of the clips that clients may name, at most a thousand."""
        found = (p.relative_to(folder) for folder in self.media for p in sorted(folder.rglob("*")) if is_clip(p))
        return [str(path) for path, _ in zip(found, range(1000), strict=False)]

    # ------------------------------------------------------------------------------------------------- parts

    def _encoder(self) -> FrozenEncoder:
        if self.encoder is None:
            raise DataError("this server has no encoder of video. Start it with `--video MODEL`.")
        return self.encoder

    def _judge(self) -> tuple[EnergyModel, Calibration]:
        if isinstance(self.judge, str):
            raise DataError(self.judge or "this server has no video model. Start it with `--video MODEL`.")
        if isinstance(self.calibration, str):
            raise DataError(self.calibration)
        return self.judge, self.calibration

    def _footage(self, clip: str | None, pictures: Sequence[str] | None, size: int | None) -> Footage:
        if (clip is None) == (pictures is None):
            raise DataError("either `clip` (a path) or `pictures` must be given.")
        if clip is not None:
            path = self._path(clip)
            return Footage(path if path.suffix.lower() in VIDEO_SUFFIXES else read_clip(path, size=size), size)
        assert pictures is not None
        if not 1 <= len(pictures) <= self.limits.clip_frames:
            raise DataError(f"`pictures` must be 1 to {self.limits.clip_frames}; got {len(pictures)}.")
        frames = [from_base64(text, "pictures", max_bytes=self.limits.picture_bytes) for text in pictures]
        if len({frame.shape for frame in frames}) > 1:
            raise DataError("`pictures` must be of one size; they are not.")
        stacked = np.stack(frames)
        return Footage(stacked if size is None else resize_frames(stacked, size), size)

    def _path(self, clip: str) -> Path:
        """A clip inside one of the folders that are shared, wherever links lead."""
        if not self.media:
            raise DataError("`clip` must lie in a shared folder, and none is shared. Start with `--media FOLDER`.")
        for folder in self.media if "\0" not in clip else ():
            path = (folder / clip).resolve()
            if path.is_relative_to(folder) and path.exists():
                return path
        raise DataError(
            f"`clip` must be the path of a clip inside the shared folder; there is no `{brief(clip)}`. The resource "
            "openjepa://clips lists them."
        )

    def _wanted(self, picture: str | None, embedding: str | None, second: float | None) -> np.ndarray:
        if picture is not None:
            encoder = self._encoder()
            frame = from_base64(picture, "picture", max_bytes=self.limits.picture_bytes)[None]
            pixels = torch.from_numpy(frame if self.size is None else resize_frames(frame, self.size))
            return encoder.pooled(pixels[None] if encoder.takes_clips else pixels)[0].cpu().numpy()
        film = self.shelf.get(embedding or "", Film, "embedding")
        vectors = film.vectors
        if second is None:
            return np.mean(vectors, 0)
        if not 0 <= second < len(vectors) * film.every:
            raise DataError(f"`second` must lie in the {len(vectors) * film.every:g} embedded seconds; got {second:g}.")
        return vectors[int(second / film.every)]
