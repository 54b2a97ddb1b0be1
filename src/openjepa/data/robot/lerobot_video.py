"""Video files of a LeRobot data set: the episodes of a camera one behind the other."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data.robot.lerobot_columns import next_place
from openjepa.data.robot.lerobot_layout import VIDEOS
from openjepa.data.video_track import pyav
from openjepa.errors import DataError

ENCODERS = {
    "h264": ("libx264", {"crf": "18", "g": "2", "bf": "0"}),
    "av1": ("libsvtav1", {"crf": "30", "g": "2", "preset": "8"}),
}


class VideoWriter:
    """Encodes the pictures of one camera.

    Args:
        root: of the data set.
        key: of the camera.
        size: height and width.
        fps: frames per second.
        codec: `h264` or `av1`.
        max_bytes: size at which the next episode begins a new file.
        chunk: files of a folder.
    """

    def __init__(
        self, root: Path, key: str, size: tuple[int, ...], fps: Fraction, codec: str, max_bytes: int, chunk: int
    ) -> None:
        self.root, self.key, self.size, self.fps, self.codec = root, key, size, fps, codec
        self.max_bytes, self.chunk = max_bytes, chunk
        self._place, self._written, self._bytes = (0, 0), 0, 0
        self._container: Any = None
        smallest = 64 if codec == "av1" else 2
        if size[0] % 2 or size[1] % 2 or min(size) < smallest:
            raise DataError(
                f"frames must have even sides of {smallest} px or more for {codec}; got {size[0]} x {size[1]}. "
                "Write them "
                "with `--codec png`."
            )

    def add(self, pictures: np.ndarray) -> dict[str, Any]:
        """Appends the pictures [T, 3, H, W] uint8 of an episode; returns where they are."""
        if pictures.shape[2:] != self.size:
            raise DataError(f"pictures of `{self.key}` must be {list(self.size)}; got {list(pictures.shape[2:])}.")
        if self._container is not None and self._bytes >= self.max_bytes:
            self.close()
            self._place = next_place(*self._place, self.chunk)
        if self._container is None:
            self._open()
        begin = self._written
        for picture in pictures:
            frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")
            frame.pts, frame.time_base = self._written, 1 / self.fps
            self._mux(self._stream.encode(frame))
            self._written += 1
        return {
            "chunk_index": self._place[0],
            "file_index": self._place[1],
            "from_timestamp": float(begin / self.fps),
            "to_timestamp": float(self._written / self.fps),
        }

    def info(self) -> dict[str, Any]:
        """What `meta/info.json` says of the camera."""
        return {
            "video.height": self.size[0],
            "video.width": self.size[1],
            "video.codec": self.codec,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": float(self.fps),
            "video.channels": 3,
            "has_audio": False,
        }

    def close(self) -> None:
        """Finishes the file that is open."""
        if self._container is not None:
            self._mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _mux(self, packets: Any) -> None:
        self._bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    @property
    def _path(self) -> Path:
        return self.root / VIDEOS.format(video_key=self.key, chunk_index=self._place[0], file_index=self._place[1])

    def _open(self) -> None:
        os.environ.setdefault("SVT_LOG", "1")  # errors only
        encoder, options = ENCODERS[self.codec]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = pyav().open(str(self._path), "w")
        self._stream = self._container.add_stream(encoder, rate=self.fps, options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = *self.size, "yuv420p"
        self._stream.codec_context.time_base = 1 / self.fps
        self._stream.thread_type = "NONE"
        self._written, self._bytes = 0, 0
