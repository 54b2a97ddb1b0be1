"""Fetches weight files: resumes where a transfer broke off, checks size and SHA-256, leaves no half file."""

import fnmatch
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from openjepa.errors import CheckpointError
from openjepa.files import sha256

CHUNK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without an answer
ATTEMPTS = 5

Progress = Callable[[int, int | None], None]  # bytes so far, and in total where the server says


@dataclass(frozen=True)
class Expected:
    """What is known about a file beforehand."""

    num_bytes: int | None = None
    sha256: str | None = None  # hex; an asterisk stands for unknown digits


def cache_folder() -> Path:
    """Where downloads are kept: `$OPENJEPA_CACHE`, or `openjepa` in the user's cache folder."""
    if own := os.environ.get("OPENJEPA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "openjepa"


def download(
    url: str,
    destination: Path,
    expected: Expected | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Returns `destination`, fetched if it is not there.

    A transfer that breaks off leaves `destination.part`, and the next call goes on from there if the file
    on the server is still the same.

    Args:
        url: http or https.
        destination: file to write; its folder is created.
        expected: size and checksum, where known.
        offline: never touch the network.
        progress: called after every chunk.

    Raises:
        CheckpointError: when the server refuses, the network fails for good, or the file is not the
        expected one.
    """
    expected = expected or Expected()
    if destination.is_file():
        return destination
    if offline:
        raise CheckpointError(f"{destination} is not there, and `offline` forbids to fetch {url}.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        try:
            _transfer(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            raise CheckpointError(f"{url} cannot be fetched: the server says {error.code} {error.reason}.") from error
        except (OSError, HTTPException) as error:  # a broken connection; what has arrived stays
            if attempt == ATTEMPTS or _size(part) == before:
                reason = getattr(error, "reason", error)
                raise CheckpointError(
                    f"{url} cannot be fetched ({reason}). Run the same command again to go on after "
                    f"{_size(part)} bytes, or give a path to the file."
                ) from error
    _check(part, expected, url)
    part.replace(destination)
    _note(part).unlink(missing_ok=True)
    return destination


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """Appends to `part` what is missing, or starts again where the server's file has changed."""
    have, known = _size(part), _read_note(part)
    request = urllib.request.Request(url, headers={"User-Agent": "openjepa"})
    if have and known.get("url") == url and known.get("validator"):
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["validator"])
    else:
        have = 0
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have and have == known.get("total"):
            return  # everything had arrived
        raise
    with answer:
        resumed = answer.status == 206
        total = _total(answer.headers, have if resumed else 0)
        if not resumed:
            validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            note = {"url": url, "validator": validator, "total": total}
            part.unlink(missing_ok=True)
            _note(part).write_text(json.dumps(note))
        with part.open("ab") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                if progress is not None:
                    progress(file.tell(), total)
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")


def _total(headers: Any, have: int) -> int | None:
    length = headers.get("Content-Length")
    return None if length is None else have + int(length)


def _check(part: Path, expected: Expected, url: str) -> None:
    size = _size(part)
    if expected.num_bytes is not None and size != expected.num_bytes:
        part.unlink()
        raise CheckpointError(f"{url} must have {expected.num_bytes} bytes; it has {size}. It is another file.")
    if expected.sha256 is not None:
        found = sha256(part)
        if not fnmatch.fnmatchcase(found, expected.sha256):
            part.unlink()
            raise CheckpointError(f"{url} must have SHA-256 {expected.sha256}; it has {found}. It is another file.")


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_note(part).read_text()))
    except (OSError, ValueError):
        return {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
