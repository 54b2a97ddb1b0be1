"""Tar shards in the layout of webdataset, read without unpacking and in any order.

The files of one sample share the name up to the first dot: `000012.jpg`, `000012.cls`, `000012.json`. A shard
is scanned once, headers only; a sample is then one read at a known offset, so batch `step` stays a pure
function of its number, which a stream of shards cannot be.
"""

import copy
import json
import logging
import os
import posixpath
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from openjepa.errors import DataError, brief

LOG = logging.getLogger("openjepa")


@dataclass(frozen=True)
class _Sample:
    shard: int
    key: str
    content: tuple[int, int]  # offset and bytes
    label: int | None


class ShardItems:
    """The samples of tar shards.

    Args:
        shards: tar files, not compressed, in the order that numbers the samples.
        suffixes: endings of the picture or video of a sample, most wanted first.

    Raises:
        DataError: for a shard that is compressed, cut off, damaged, or without pictures and videos, for a link that
            leads nowhere, and where the name of a picture has a dot before its ending, or stands twice.
    """

    def __init__(
        self, shards: Sequence[Path | str], suffixes: Sequence[str] = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    ) -> None:
        self.shards = tuple(Path(s) for s in shards)
        self._samples = [sample for i, shard in enumerate(self.shards) for sample in _scan(i, shard, suffixes)]
        if not self._samples:
            raise DataError(
                f"{len(self.shards)} shards must hold pictures or videos ({', '.join(suffixes[:3])} ...); "
                "they hold none."
            )

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        """The shard and the key of the sample."""
        sample = self._samples[index]
        return f"{self.shards[sample.shard]}:{sample.key}"

    def content(self, index: int) -> bytes:
        """The bytes of the picture or video."""
        sample = self._samples[index]
        return _read(self.shards[sample.shard], *sample.content)

    def excerpt(self, part: range) -> "ShardItems":
        """Returns some samples alone, numbered from 0; no shard is scanned again."""
        found = copy.copy(self)
        found._samples = self._samples[part.start : part.stop]
        return found

    def label(self, index: int) -> int | None:
        """From `key.cls`, or the entry `label` of `key.json`."""
        return self._samples[index].label


def _scan(number: int, shard: Path, suffixes: Sequence[str]) -> list[_Sample]:
    members: dict[str, dict[str, tuple[int, int]]] = {}
    places: dict[str, tuple[int, int]] = {}  # by name, for links
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                place = _place(shard, member, places, suffixes)
                folder, _, name = member.name.rpartition("/")
                if place is None or name.startswith("."):
                    continue
                places[posixpath.normpath(member.name)] = place
                stem, _, ending = name.partition(".")
                key, ending = f"{folder}/{stem}" if folder else stem, f".{ending.lower()}"
                if ending in members.setdefault(key, {}):
                    raise DataError(f"`{shard}` must hold `{member.name}` once; it has two files of that name.")
                members[key][ending] = place
            _check_end(shard, tar.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        hint = " Unpack it first." if shard.suffix in (".gz", ".tgz", ".zst", ".xz", ".bz2") else ""
        raise DataError(f"`{shard}` must be a plain tar file; {error}.{hint}") from error
    samples, size = [], shard.stat().st_size
    for key, files in members.items():
        found = next((files[s] for s in suffixes if s in files), None)
        if found is None:
            if dotted := next((s for s in files if s.endswith(tuple(suffixes))), None):
                raise DataError(
                    f"`{key}{dotted}` in `{shard}` must have no dot before its ending: the first ends the name of a "
                    "sample. Rename it."
                )
            continue
        if sum(found) > size:
            raise DataError(f"`{shard}` must hold `{key}` whole; it ends before. It is cut off.")
        samples.append(_Sample(number, key, found, _label(shard, key, files)))
    return samples


def _place(
    shard: Path, member: tarfile.TarInfo, places: dict[str, tuple[int, int]], suffixes: Sequence[str]
) -> tuple[int, int] | None:
    """Offset and bytes of a file, or of the file before it that a link names; None for pipes and devices."""
    if member.issym() or member.islnk():
        folder = posixpath.dirname(member.name) if member.issym() else ""
        found = places.get(posixpath.normpath(posixpath.join(folder, member.linkname)))
        if found is None and member.name.lower().endswith(tuple(suffixes)):
            raise DataError(
                f"`{member.name}` in `{shard}` must be a file, or a link to one before it; it leads to "
                f"`{member.linkname}`. Pack the files that links lead to: tar --dereference --hard-dereference."
            )
        return found
    if member.issparse():
        raise DataError(f"`{member.name}` in `{shard}` must be stored whole; it is sparse. Pack without --sparse.")
    return (member.offset_data, member.size) if member.isfile() else None


def _check_end(shard: Path, end: int) -> None:
    """Refuses a shard that goes on behind the header at which reading ended: `tarfile` would drop the rest."""
    if shard.stat().st_size == end:
        LOG.warning("`%s` has no end mark: its writer did not finish, and files may be missing.", shard)
    with open(shard, "rb") as file:
        file.seek(end)
        while rest := file.read(1 << 20):
            if rest.count(0) < len(rest):
                raise DataError(
                    f"`{shard}` must end where its list of files ends; bytes follow from {end} on. It is damaged, or "
                    "several were put one after the other: keep them as files of their own."
                )


_WHOLE = re.compile(r"[+-]?[0-9]{1,1000}")


def _label(shard: Path, key: str, files: dict[str, tuple[int, int]]) -> int | None:
    try:
        if ".cls" in files:
            text = _read(shard, *files[".cls"]).decode().strip()
            if not _WHOLE.fullmatch(text):
                raise ValueError(f"got {brief(text, 40)!r}")
            return int(text)
        if ".json" in files:
            entry = json.loads(_read(shard, *files[".json"]))
            label = entry.get("label") if isinstance(entry, dict) else None
            if label is not None and (isinstance(label, bool) or label != int(label)):
                raise ValueError(f"got {label}")
            return None if label is None else int(label)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"`{shard}:{key}` must have a whole number as label; {error}.") from error
    return None


def _read(shard: Path, offset: int, size: int) -> bytes:
    with open(shard, "rb") as file:
        return os.pread(file.fileno(), size, offset)
