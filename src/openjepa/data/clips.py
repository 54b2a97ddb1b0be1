"""One clip from anything that holds one: a video file, a folder of pictures, or an array; read in parts, or whole."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from openjepa.data.folders import list_folder
from openjepa.data.images import read_image
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from openjepa.data.video_file import VideoFile
from openjepa.errors import DataError

ARRAY_SUFFIX = ".npy"
PART = 128  # frames that are read at once
LONGEST = 1000  # frames of a clip; a longer video is cut into pieces
MOST_PIECES = 100


class Clip:
    """A clip [T, 3, H, W] uint8 that is read in order, part by part, however long it is.

    `len(clip)` is T; iterating gives parts [t, 3, H, W] of at most `PART` frames, and reads from the start each time.

    Args:
        path: a video file, a folder of pictures (in the order of the numbers in their names), or a `.npy` file
            [T, 3, H, W] or [T, H, W, 3] uint8.
        size: side of the centre square in pixels; None keeps the pictures whole.
        frame_step: takes every so many frames, >= 1.
        min_frames: fewest frames that are left after that.

    Raises:
        DataError: for what cannot be read, or is too short.
    """

    def __init__(self, path: Path | str, *, size: int | None = None, frame_step: int = 1, min_frames: int = 1) -> None:
        self.path, self.size, self.frame_step = Path(path), size, frame_step
        if not self.path.exists():
            raise DataError(f"`{path}` must be a video, a folder of pictures or a .npy file; it does not exist.")
        self._frames, count = self._open()
        self._length = -(-count // frame_step)
        if self._length < min_frames:
            step = f" with `--frame-step {frame_step}`" if frame_step > 1 else ""
            raise DataError(
                f"`{path}` must have at least {min_frames} frames for this model; it has {self._length}{step}. "
                "Take a longer clip, or a smaller step."
            )

    def _open(self) -> tuple[Callable[[], Iterator[np.ndarray]], int]:
        """What reads the frames one by one, and how many the file has."""
        path, size, step = self.path, self.size, self.frame_step
        if path.is_dir():
            names = list_folder(path, IMAGE_SUFFIXES)
            if not names:
                raise DataError(f"`{path}` must hold the pictures of a clip; it holds none.")
            return lambda: (read_image(name, size) for name in names[::step]), len(names)
        if path.suffix.lower() == ARRAY_SUFFIX:
            array = _channels_first(_open_array(path), path)
            return lambda: (_fitted(array[i : i + 1], size)[0] for i in range(0, len(array), step)), len(array)
        with VideoFile(path) as video:
            count = video.num_frames
        if not count:
            raise DataError(f"`{path}` must be a video; it has no frames.")
        return self._decoded, count

    def _decoded(self) -> Iterator[np.ndarray]:
        with VideoFile(self.path) as video:
            yield from islice(video.frames(self.size), 0, None, self.frame_step)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[np.ndarray]:
        frames, shape, done = self._frames(), None, 0
        while part := list(islice(frames, PART)):
            shape = shape or part[0].shape
            if any(frame.shape != shape for frame in part):
                raise DataError(f"`{self.path}` must hold pictures of one size; it holds several.")
            done += len(part)
            yield np.stack(part)
        if done != self._length:
            raise DataError(f"`{self.path}` must show its {self._length} frames; it shows {done}. Write it again.")


def read_clip(path: Path | str, *, size: int | None = None, frame_step: int = 1, min_frames: int = 1) -> np.ndarray:
    """Reads a whole clip [T, 3, H, W] uint8; see `Clip`."""
    return np.concatenate(list(Clip(path, size=size, frame_step=frame_step, min_frames=min_frames)))


def list_clips(folder: Path | str) -> list[Path]:
    """Lists the clips of a folder in natural order: videos, arrays, and folders of pictures.

    Raises:
        DataError: where there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"`{folder}` must be a folder of clips; there is none. Check the path.")
    found = [path for path in list_folder(folder) if is_clip(path)]
    if not found and is_clip(folder):
        return [folder]
    if not found:
        raise DataError(f"`{folder}` must hold videos, .npy files or folders of pictures; it holds none.")
    return found


def is_clip(path: Path) -> bool:
    """Whether a path looks like a clip: by its ending, or a folder with pictures in it."""
    if path.is_dir():
        return bool(list_folder(path, IMAGE_SUFFIXES))
    return path.suffix.lower() in (*VIDEO_SUFFIXES, ARRAY_SUFFIX)


def read_clips(folder: Path | str, *, piece: int | None = None, **options: int | None) -> Iterator[np.ndarray]:
    """Reads every clip of a folder, or of one array [B, T, 3, H, W] or [B, T, H, W, 3].

    Args:
        folder: of clips, or the array.
        piece: frames of the pieces that a long video is cut into, see `read_pieces`; None reads it whole.
        **options: as in `read_clip`.
    """
    folder = Path(folder)
    if folder.suffix.lower() == ARRAY_SUFFIX and _open_array(folder).ndim == 5:
        size, step = options.get("size"), options.get("frame_step") or 1
        yield from (_fitted(_channels_first(clip, folder)[::step], size) for clip in _open_array(folder))
        return
    size, step = options.get("size"), options.get("frame_step") or 1
    for path in list_clips(folder):
        pieces = None if piece is None else read_pieces(path, piece, size, step)
        if pieces is None:
            yield read_clip(path, **options)  # type: ignore[arg-type]
        else:
            yield from pieces


def read_pieces(path: Path, length: int, size: int | None = None, frame_step: int = 1) -> Iterator[np.ndarray] | None:
    """Cuts a long video into clips [length, 3, H, W] uint8, far from each other; only one is in memory.

    Pieces lie evenly over the video, at least their own length apart, at most `MOST_PIECES`.

    Args:
        path: a clip.
        length: frames of a piece.
        size: side of the centre square in pixels; None keeps the pictures whole.
        frame_step: takes every so many frames, >= 1.

    Returns:
        None for what is not a video, or not longer than `LONGEST` frames: it is one clip.
    """
    if path.is_dir() or path.suffix.lower() == ARRAY_SUFFIX:
        return None
    with VideoFile(path) as video:
        count = video.num_frames
    pieces = min(count // (2 * length * frame_step), MOST_PIECES)
    if count <= LONGEST * frame_step or pieces < 2:
        return None

    def read() -> Iterator[np.ndarray]:
        with VideoFile(path) as video:
            for start in np.linspace(0, count - length * frame_step, pieces).astype(int):
                yield video.read(video.middles(start + frame_step * np.arange(length)), size)

    return read()


def resize_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Cuts the centre square of frames [T, 3, H, W] uint8 and resizes it to `size` pixels."""
    if frames.shape[2:] == (size, size):
        return frames
    side = min(frames.shape[2:])
    top, left = (frames.shape[2] - side) // 2, (frames.shape[3] - side) // 2
    square = frames[:, :, top : top + side, left : left + side].transpose(0, 2, 3, 1)
    small = [np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BOX)) for f in square]
    return np.ascontiguousarray(np.stack(small).transpose(0, 3, 1, 2))


def _open_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"`{path}` must be a NumPy array; it cannot be read. Write it again.") from error
    if array.dtype != np.uint8:
        raise DataError(f"`{path}` must hold uint8 pixels; got {array.dtype}.")
    return array


def _channels_first(clip: np.ndarray, path: Path) -> np.ndarray:
    if clip.ndim == 4 and clip.shape[-1] == 3 and clip.shape[1] != 3:
        clip = clip.transpose(0, 3, 1, 2)
    if clip.ndim != 4 or clip.shape[1] != 3:
        raise DataError(f"`{path}` must be [T, 3, H, W] or [T, H, W, 3]; got {list(clip.shape)}.")
    return clip


def _fitted(clip: np.ndarray, size: int | None) -> np.ndarray:
    return np.array(clip) if size is None else resize_frames(np.array(clip), size)
