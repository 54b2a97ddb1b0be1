"""What a run asks of the disk: writes that appear whole or not at all, and errors that say what is wrong."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

from openjepa.errors import TrainingError


def is_disk_full(error: BaseException, where: Path) -> bool:
    """Whether an error of any layer means that no space is left.

    safetensors words it in its own way, and `torch.save` reports a short write without its cause.
    """
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
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


def replace_text(path: Path, text: str) -> None:
    """Writes a small file in one atomic step that survives a crash.

    Raises:
        TrainingError: when the disk is full or refuses; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise refused(path, error) from error


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
