"""Small videos of every usual kind, made by FFmpeg: each frame spells its own number.

`test_video_exactness.py` takes a covering part of them, `benchmarks/video_exactness.py` all.
"""

import itertools
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 64, 48, 30
BITS = 8

# Container: the codecs that it takes; `fmp4` is a fragmented MP4.
CODECS = {
    "mp4": ["h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2", "mjpeg"],
    "fmp4": ["h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2"],
    "mov": ["h264", "hevc", "mpeg4", "mpeg2", "mjpeg", "raw"],
    "mkv": ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2", "mjpeg", "raw"],
    "webm": ["vp8", "vp9", "av1"],
    "ts": ["h264", "hevc", "mpeg4", "mpeg2"],
    "mpg": ["h264", "mpeg2"],
    "avi": ["h264", "mpeg4", "mpeg2", "mjpeg", "raw"],
    "flv": ["h264", "hevc", "av1", "flv1"],
    "gif": ["gif"],
}
FORMATS = {"mpg": "vob"}  # FFmpeg's name where the ending does not say it
ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "mpeg2": "mpeg2video",
    "raw": "rawvideo",
    "flv1": "flv",
}
REORDERED = {"h264", "hevc", "mpeg4", "mpeg2"}  # codecs with B-frames and open groups of pictures
TRIMMED = {"mp4", "mov"}  # containers with an edit list
TURNED = {"mp4", "fmp4", "mov"}  # containers with a display matrix
# What a matrix (a b; c d) does to the picture that it is written for, each as NumPy says it.
MATRICES = {
    "plain": ((1, 0, 0, 1), lambda p: p),
    "rot90": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "rot180": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "rot270": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda p: p[::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "antitransposed": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
}


@dataclass(frozen=True)
class Sample:
    """One kind of video; `variable` is of variable frame rate, `trimmed` begins and ends within a group of pictures."""

    container: str
    codec: str
    open_gop: bool = False
    b_frames: int = 0
    variable: bool = False
    trimmed: bool = False
    matrix: str = "plain"
    frames: int = 24
    gop: int = 8

    def __str__(self) -> str:
        words = [self.container, self.codec, f"b{self.b_frames}" if self.b_frames else "", self.matrix]
        words += [word for word in ("open_gop", "variable", "trimmed") if getattr(self, word)]
        return "-".join(w for w in words if w and w != "plain")

    @property
    def grid(self) -> np.ndarray:
        """When each frame is shown, in frames of the constant rate."""
        gaps = np.ones(self.frames, int)
        if self.variable:
            gaps = np.resize([1, 1, 4, 1, 2, 9, 1, 1, 1, 25], self.frames)
            gaps[-4:] = 1  # an AVI does not say when its last frames are shown
        return np.concatenate([[0], np.cumsum(gaps[:-1])])

    @property
    def shown(self) -> np.ndarray:
        """The numbers of the frames that are shown."""
        return np.arange(11, self.frames - 3) if self.trimmed else np.arange(self.frames)

    @property
    def middles(self) -> np.ndarray:
        """The middle of each shown frame, in seconds from the first."""
        start = self.grid[self.shown] / RATE
        end = np.append(start[1:], start[-1] + 1 / RATE)
        return (start + end) / 2 - start[0]


def samples() -> list[Sample]:
    """All kinds that this build of FFmpeg can write."""
    found = []
    for container, codecs in CODECS.items():
        for codec in (c for c in codecs if ENCODERS.get(c, c) in av.codecs_available):
            for b, is_open, variable, trimmed, matrix in itertools.product(
                (0, 2), (False, True), (False, True), (False, True), MATRICES
            ):
                sample = Sample(container, codec, is_open, b, variable, trimmed, matrix)
                found += [sample] if _exists(sample) else []
    return found


def _exists(sample: Sample) -> bool:
    timeless = sample.container == "mpg"  # only some of its frames have a time of their own
    return not (
        (sample.b_frames and sample.codec not in REORDERED)
        or (sample.open_gop and not sample.b_frames and sample.codec != "av1")
        or (sample.variable and timeless)
        or (sample.trimmed and sample.container not in TRIMMED)
        or (sample.matrix != "plain" and sample.container not in TURNED)
        or (sample.b_frames and sample.codec == "h264" and sample.container == "mpg")
    )


def covering(kinds: list[Sample]) -> list[Sample]:
    """A part of the kinds in which every two properties that go together do so at least once."""
    seen: set[tuple[object, object]] = set()
    found = []
    for sample in sorted(kinds, key=lambda s: (s.open_gop, s.b_frames, s.variable, s.trimmed), reverse=True):
        pairs = set(itertools.combinations(vars(sample).items(), 2))
        if pairs - seen:
            seen |= pairs
            found.append(sample)
    return found


def picture(number: int) -> np.ndarray:
    """A picture [H, W, 3] that spells a number in its upper half: eight bars, bright where the bit is 1.

    The lower half is dark, so that a turned picture does not look like another.
    """
    found = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            found[: HEIGHT // 2, WIDTH // BITS * bit : WIDTH // BITS * (bit + 1)] = 230
    return found


def number(shown: np.ndarray, matrix: str = "plain") -> int:
    """The number that a shown picture [3, H, W] spells; -1 where it lies otherwise than `matrix` says."""
    upright = MATRICES[UNDONE.get(matrix, matrix)][1](shown.transpose(1, 2, 0)).mean(2)
    width, half = upright.shape[1] // BITS, upright.shape[0] // 2
    if upright.shape[1] < upright.shape[0] or upright[half + 4 :].mean() > 60:
        return -1
    bars = [upright[4 : half - 4, width * b + 2 : width * (b + 1) - 2].mean() > 125 for b in range(BITS)]
    return sum(int(on) << bit for bit, on in enumerate(bars))


UNDONE = {"rot90": "rot270", "rot270": "rot90"}  # every other matrix undoes itself


def options(sample: Sample) -> dict[str, str]:
    """FFmpeg's options of the encoder."""
    gop, b = sample.gop, sample.b_frames
    same = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b}"
    return {
        "h264": {"crf": "12", "preset": "ultrafast", "x264-params": f"{same}:b-adapt=0:open-gop={sample.open_gop:d}"},
        "hevc": {
            "crf": "12",
            "preset": "ultrafast",
            "x265-params": f"{same}:b-adapt=0:log-level=none:pools=1:frame-threads=1:open-gop={sample.open_gop:d}",
        },
        "vp8": {"g": f"{gop}", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "8", "b": "1M"},
        "vp9": {"g": f"{gop}", "deadline": "realtime", "cpu-used": "8", "b": "1M"},
        "av1": {
            "g": f"{gop}",
            "preset": "12",
            "crf": "20",
            "svtav1-params": f"lp=1:irefresh-type={2 - sample.open_gop}",
        },
        "mpeg4": {"g": f"{gop}", "bf": f"{b}", "b": "2M", "flags": "-cgop" if sample.open_gop else "+cgop"},
        "mpeg2": {"g": f"{gop}", "bf": f"{b}", "b": "4M", "flags": "-cgop" if sample.open_gop else "+cgop"},
        "flv1": {"g": f"{gop}", "b": "1M"},
        "mjpeg": {"q": "3"},
    }.get(sample.codec, {}) | ({"sc_threshold": "1000000000"} if sample.codec in ("mpeg4", "mpeg2") else {})


def write(sample: Sample, folder: Path) -> Path:
    """Makes the video of a kind."""
    path = folder / f"{sample}.{'mp4' if sample.container == 'fmp4' else sample.container}"
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if sample.container == "fmp4" else {}
    with av.open(str(path), "w", format=FORMATS.get(sample.container), options=fragments) as container:
        name = ENCODERS.get(sample.codec, sample.codec)
        stream = container.add_stream(name, rate=RATE, options=options(sample))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, _pixels(sample)
        stream.thread_type, stream.codec_context.time_base = "NONE", Fraction(1, RATE)
        if sample.matrix != "plain":
            a, b, c, d = MATRICES[sample.matrix][0]
            stream.set_display_matrix([v << 16 for v in (a, b, 0, c, d, 0, 0, 0, 1 << 14)])
        for i, at in enumerate(sample.grid):
            frame = av.VideoFrame.from_ndarray(picture(i), "rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = int(at), Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if sample.trimmed:
        _trim(path, sample)
    return path


def _pixels(sample: Sample) -> str:
    if sample.codec == "raw":
        return {"avi": "bgr24", "mov": "rgb24"}.get(sample.container, "yuv420p")
    return {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(sample.codec, "yuv420p")


def _trim(path: Path, sample: Sample) -> None:
    """Hides the beginning and the end by the edit list that FFmpeg has written."""
    shown, grid = sample.shown, sample.grid
    data = bytearray(path.read_bytes())
    movie, media = (struct.unpack_from(">I", data, data.index(box) + 16)[0] / RATE for box in (b"mvhd", b"mdhd"))
    edit = data.index(b"elst") + 12
    lasts = round((grid[shown[-1] + 1] - grid[shown[0]]) * movie)
    begins = round(grid[shown[0]] * media) + struct.unpack_from(">I", data, edit + 4)[0]
    struct.pack_into(">II", data, edit, lasts, begins)
    path.write_bytes(data)
