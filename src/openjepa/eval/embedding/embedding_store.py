"""Embeddings on disk: parts that are written once, and a log that says which ones count.

A part is written under another name, flushed to disk and renamed; then a line in `_commits.jsonl` says that
it counts. Whatever a kill leaves without its line is removed at the next start, so no row is lost or
doubled. Names that begin with `_` are ignored by Parquet readers, so the folder itself opens as one data
set.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openjepa.errors import ConfigError, DataError, require
from openjepa.files import draft_of, lock, read_json, replacing, sealed_json, sha256

Format = Literal["parquet", "numpy"]
MANIFEST, LOG = "_manifest.json", "_commits.jsonl"
SAMPLES = "samples"  # what the manifest calls the samples where a file has several, so that a changed one may have more
SUFFIX = {"parquet": ".parquet", "numpy": ".npz"}


@dataclass(frozen=True)
class Rows:
    """Embeddings of some files, in order.

    Attributes:
        paths: name of the file of each row.
        index: [R] int64 number of the file.
        frame: [R] int32 number of the latent frame within it; 0 where there is one row per file.
        time: [R] float32 seconds from the first frame of the file to the last frame that the row has seen.
        vectors: [R, D], or [R, h, w, D] for dense ones.
    """

    paths: list[str]
    index: np.ndarray
    frame: np.ndarray
    time: np.ndarray
    vectors: np.ndarray


@dataclass
class Commit:
    """One line of the log: files `first` to `first + count - 1` are done, as they were when they had `stamps`."""

    part: str | None
    first: int
    count: int
    rows: int
    size: int
    damaged: dict[str, str] = field(default_factory=dict)
    stamps: list[str] = field(default_factory=list)
    sha256: str | None = None  # of the part; version 0.1.0 wrote none

    def changed(self, stamp: Callable[[int], str]) -> set[str]:
        """Stamps of the files that are no longer what was embedded; none where that was not noted."""
        return {old for i, old in enumerate(self.stamps) if old != stamp(self.first + i)}


class EmbeddingStore:
    """A folder of embeddings that grows by parts; close it with `with`.

    Args:
        folder: made if needed.
        format: of the parts.
        manifest: what the work is (options, files, model); work that differs is refused. Where only its `SAMPLES`
            differ, what lies before the first file that has changed is kept.
        stamp: of a file by its number, see `file_stamp`; parts with files that have changed since are removed.

    Attributes:
        commits: the parts that count.
        changed: files that had changed.

    Raises:
        ConfigError: where the folder holds other work.
    """

    def __init__(
        self,
        folder: Path | str,
        format: Format,
        manifest: dict[str, Any],
        stamp: Callable[[int], str] = lambda index: "",
    ) -> None:
        self.folder, self.format = Path(folder), format
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = ConfigError(f"`{self.folder}` must be written by one process at a time; another is at work.")
        self._lock = lock(self.folder / "_lock", busy=busy)
        try:
            has_moved = self._claim(manifest)
            self._lost: set[str] = set()
            self.commits = self._recover(stamp, has_moved=has_moved)
            if has_moved:  # what follows a file that has changed is another file now, but has not changed
                self.changed = len(self._lost - {stamp(i) for i in range(manifest[SAMPLES]["count"])})
                _write(self.folder / MANIFEST, sealed_json(manifest).encode())
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "EmbeddingStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _claim(self, manifest: dict[str, Any]) -> bool:
        """Refuses the folder of other work; returns whether the samples have other numbers than before."""
        file = self.folder / MANIFEST
        if not file.exists():
            others = [p for p in self.folder.iterdir() if p.name not in (draft_of(file).name, "_lock")]
            if others:
                raise ConfigError(
                    f"`output` must be an empty folder or one of earlier embeddings; `{self.folder}` holds "
                    f"`{others[0].name}`."
                )
        if not file.exists() or not (self.folder / LOG).exists():  # nothing is finished that could differ
            _write(file, sealed_json(manifest).encode())
            return False
        found = _read_manifest(file)
        for key in manifest:
            if key != SAMPLES and found.get(key) != manifest[key]:
                raise ConfigError(
                    f"`{self.folder}` holds embeddings with other {key}: "
                    f"{_brief(found.get(key), manifest[key])}. Choose another `output`, or remove it."
                )
        return found.get(SAMPLES) != manifest.get(SAMPLES)

    def _recover(self, stamp: Callable[[int], str], *, has_moved: bool) -> list[Commit]:
        """Reads the log up to its last whole line, and removes what it does not name and what has changed.

        Where samples have moved, those in front of the first change have not; all others are removed.
        """
        file = self.folder / LOG
        data = file.read_bytes() if file.exists() else b""
        commits, whole = _read_log(file, data)
        for commit in commits:
            part = self.folder / commit.part if commit.part else None
            if part is not None and (not part.exists() or part.stat().st_size != commit.size):
                raise DataError(
                    f"`{part}` must be as it was committed; it is missing or changed. Remove "
                    f"`{self.folder}` and start again."
                )
        known = {c.part for c in commits}
        unknown = [p for p in self.folder.iterdir() if p.name.lstrip(".").startswith("part-") and p.name not in known]
        lost = [p for p in unknown if p.name.startswith("part-") and p.suffix in SUFFIX.values()]
        if len(lost) > 1:  # a kill leaves one at most
            raise DataError(
                f"`{file}` must name every part; it leaves out {len(lost)}, so it was cut short. Restore it, or remove "
                f"`{self.folder}` and start again."
            )
        if whole < len(data):
            _write(file, data[:whole])
        changes = [commit.changed(stamp) for commit in commits]
        if any(changes) or has_moved:
            kept = [commit for commit, count in zip(commits, changes, strict=True) if not count]
            kept = _unmoved(kept) if has_moved else kept
            _write(file, b"".join(map(_line, kept)))
            unknown += [self.folder / c.part for c in commits if c not in kept and c.part]
            commits, self._lost = kept, set().union(*changes)
        self.changed = len(self._lost)
        for path in unknown:
            path.unlink()
        return commits

    def done(self) -> set[int]:
        """Numbers of the files that are finished, damaged ones included."""
        return {i for c in self.commits for i in range(c.first, c.first + c.count)}

    def damaged(self) -> dict[str, str]:
        """Name of each damaged file to one line that says why, in the order of the files."""
        in_order = sorted(self.commits, key=lambda c: c.first)
        return {name: why for c in in_order for name, why in c.damaged.items()}

    def add(
        self, first: int, count: int, rows: Rows | None, damaged: dict[str, str], stamps: Sequence[str] = ()
    ) -> None:
        """Commits files `first` ... `first + count - 1` and their stamps; `rows` is None where all are damaged."""
        name, size, digest = None, 0, None
        if rows is not None and len(rows.paths):
            name = f"part-{first:09d}{SUFFIX[self.format]}"
            with replacing(self.folder / name) as draft:
                (_write_parquet if self.format == "parquet" else _write_numpy)(draft, rows)
                size, digest = draft.stat().st_size, sha256(draft)
        rows_in = len(rows.paths) if rows else 0
        commit = Commit(name, first, count, rows_in, size, damaged, list(stamps), digest)
        with (self.folder / LOG).open("ab") as file:
            file.write(_line(commit))
            file.flush()
            os.fsync(file.fileno())
        self.commits.append(commit)


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """Returns what the embeddings of a folder are.

    Raises:
        DataError: where there are none.
    """
    file = Path(folder) / MANIFEST
    if not file.is_file():
        raise DataError(f"`{folder}` must hold embeddings; it holds none. Make them with `openjepa embed`.")
    return _read_manifest(file)


def _unmoved(commits: list[Commit]) -> list[Commit]:
    """The commits that follow each other without a gap from the first sample on, stamps in all of them."""
    kept: list[Commit] = []
    for commit in sorted(commits, key=lambda c: c.first):
        if commit.first != sum(c.count for c in kept) or len(commit.stamps) != commit.count:
            break
        kept.append(commit)
    return kept


def _line(commit: Commit) -> bytes:
    return json.dumps(commit.__dict__).encode() + b"\n"


def read_commits(folder: Path | str) -> list[Commit]:
    """Returns what is finished in a folder, in the order of the files.

    Raises:
        DataError: where there are no embeddings, or their log is damaged.
    """
    read_manifest(folder)
    file = Path(folder) / LOG
    commits, _ = _read_log(file, file.read_bytes() if file.exists() else b"")
    return sorted(commits, key=lambda c: c.first)


def read_parts(folder: Path | str) -> Iterator[Rows]:
    """Yields the committed parts of a folder in the order of the files."""
    folder = Path(folder)
    for commit in read_commits(folder):
        if commit.part is not None:
            part = folder / commit.part
            if not part.is_file() or commit.sha256 not in (None, sha256(part)):
                raise DataError(f"`{part}` must be as it was committed; it is missing or changed. Restore it.")
            yield _read_parquet(part) if part.suffix == ".parquet" else _read_numpy(part)


def _read_manifest(file: Path) -> dict[str, Any]:
    return read_json(file, damaged=lambda reason: DataError(f"`{file}` is damaged ({reason}). Restore it."))


def _read_log(file: Path, data: bytes) -> tuple[list[Commit], int]:
    """Reads the log up to its last whole line, and how many bytes that are."""
    whole = data[: data.rfind(b"\n") + 1]
    commits = []
    for line in whole.splitlines():
        try:
            commits.append(Commit(**json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"`{file}` must be a log of commits; line {len(commits) + 1} is not.") from error
    return commits, len(whole)


def read_embeddings(folder: Path | str) -> Rows:
    """Reads all embeddings of a folder into memory.

    Raises:
        DataError: where there are none.
    """
    parts = list(read_parts(folder))
    if not parts:
        raise DataError(f"`{folder}` must hold embeddings; no part is finished yet.")
    return Rows(
        [name for p in parts for name in p.paths],
        np.concatenate([p.index for p in parts]),
        np.concatenate([p.frame for p in parts]),
        np.concatenate([p.time for p in parts]),
        np.concatenate([p.vectors for p in parts]),
    )


def _write_numpy(path: Path, rows: Rows) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            path=np.array(rows.paths),
            index=rows.index,
            frame=rows.frame,
            time=rows.time,
            embedding=rows.vectors,
        )


def _read_numpy(path: Path) -> Rows:
    with np.load(path, allow_pickle=False) as data:
        names = [str(p) for p in data["path"]]
        return Rows(names, data["index"], data["frame"], data["time"], data["embedding"])


def _write_parquet(path: Path, rows: Rows) -> None:
    arrow, parquet = _pyarrow()
    flat = rows.vectors.reshape(len(rows.vectors), -1)
    raw = [name.encode("utf-8", "surrogateescape") for name in rows.paths]
    shown = [name.decode("utf-8", "replace") for name in raw]
    # Text in Parquet is UTF-8; names that are not have their bytes beside them.
    extra = {} if shown == rows.paths else {"path_bytes": arrow.array(raw, arrow.binary())}
    table = arrow.table(
        {
            "path": shown,
            **extra,
            "index": rows.index,
            "frame": rows.frame,
            "time": rows.time,
            "embedding": arrow.FixedSizeListArray.from_arrays(arrow.array(flat.ravel()), flat.shape[1]),
        }
    ).replace_schema_metadata({"shape": json.dumps(rows.vectors.shape[1:])})
    parquet.write_table(table, path)


def _read_parquet(path: Path) -> Rows:
    _, parquet = _pyarrow()
    table = parquet.ParquetFile(path).read()
    shape = json.loads(table.schema.metadata[b"shape"])
    vectors = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    index, frame, time = (table[name].to_numpy() for name in ("index", "frame", "time"))
    if "path_bytes" in table.column_names:
        names = [raw.decode("utf-8", "surrogateescape") for raw in table["path_bytes"].to_pylist()]
    else:
        names = table["path"].to_pylist()
    return Rows(names, index, frame, time, vectors.reshape(len(table), *shape))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise require("pyarrow", "data", "write Parquet") from error
    return pyarrow, pyarrow.parquet


def _write(path: Path, content: bytes) -> None:
    """Replaces a file in one step."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def _brief(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        key = next(k for k in [*new, *old] if old.get(k) != new.get(k))
        return f"`{key}` was {old.get(key)} and is now {new.get(key)}"
    return f"{old} then, {new} now"
