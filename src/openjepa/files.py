"""What is asked of the disk: writes that appear whole or not at all, one writer at a time, errors that say why."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from openjepa.errors import TrainingError

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)  # some network file systems know no locks; the work goes on without
FULL = (errno.ENOSPC, errno.EDQUOT)
SEAL = "crc32"  # key of the checksum in a sealed JSON object


def is_disk_full(error: BaseException, where: Path) -> bool:
    """Whether an error of any layer means that no space is left.

    safetensors words it in its own way, and `torch.save` reports a short write without its cause.
    """
    if getattr(error, "errno", None) in FULL:
        return True
    if "No space left" in str(error) or "os error 28" in str(error):
        return True
    there = where if where.exists() else where.parent
    return there.exists() and shutil.disk_usage(there).free < 1 << 16


def cause_of(error: BaseException, where: Path) -> str:
    """Words an error of writing for the user."""
    return "the disk is full" if is_disk_full(error, where) else f"{type(error).__name__}: {error}"


def refused(path: Path, error: BaseException) -> TrainingError:
    """Builds the error for a file of a run that cannot be written."""
    return TrainingError(
        f"{path} cannot be written: {cause_of(error, path.parent)}. "
        "Remedy that and run the same command again; it goes on from the last checkpoint."
    )


def draft_of(path: Path) -> Path:
    """Where `replacing` prepares a file before it takes its place; a kill may leave it."""
    return path.with_name(f".{path.name}.writing")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lends a draft to write to, which then replaces `path` in one step that survives a power failure.

    Raises:
        OSError: as the disk says it; the old file is then untouched, as after any other error inside.
    """
    draft = draft_of(path)
    try:
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Lends an empty folder to fill, which then becomes `path`, where nothing must be yet.

    Raises:
        OSError: as the disk says it; nothing is left then, as after any other error inside.
    """
    draft = draft_of(path)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Writes a small file in one atomic step.

    Raises:
        TrainingError: when the disk is full or refuses; the old file is then untouched.
    """
    try:
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refused(path, error) from error


def sealed_json(content: Mapping[str, Any]) -> str:
    """JSON text of an object, with a checksum that `read_json` compares."""
    return json.dumps({**content, SEAL: _checksum(content)}, indent=2) + "\n"


def read_json(path: Path, *, damaged: Callable[[str], Exception]) -> dict[str, Any]:
    """Reads a JSON object; one that is sealed must be as it was written.

    Args:
        path: the file.
        damaged: builds the error to raise, from words that say what is wrong.

    Raises:
        OSError: where there is no such file.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise damaged(f"it is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise damaged(f"it must hold a JSON object; it holds a {type(content).__name__}")
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _checksum(content):
        raise damaged(f"it was changed after it was written; to keep a change of your own, remove its line `{SEAL}`")
    return content


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of two entries of one name the last would win in silence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"`{next(n for n in names if names.count(n) > 1)}` is in it twice")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def lock(path: Path, *, busy: Exception) -> IO[bytes]:
    """Locks a file, made if needed, until the returned handle is closed or the process dies.

    Args:
        path: the file.
        busy: what to raise while another process holds it.

    Raises:
        OSError: where the file cannot be made.
    """
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise busy from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            handle.close()
            raise
    return handle


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
