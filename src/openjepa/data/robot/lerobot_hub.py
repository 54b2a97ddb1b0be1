"""LeRobot data sets of the Hub, by `owner/name`."""

import re
from pathlib import Path

from openjepa.errors import DataError, require


def is_hub_id(word: str) -> bool:
    """Whether a word can be the id of a data set, `owner/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", word) is not None


def fetch_dataset(repo_id: str, *, revision: str | None = None, offline: bool = False) -> Path:
    """Fetches a data set into the cache of `huggingface_hub`; what is there already is not fetched again.

    Args:
        repo_id: `owner/name`.
        revision: branch, tag or commit; None is the newest.
        offline: never touch the network.

    Raises:
        DataError: where it cannot be had.
        MissingDependencyError: where `huggingface_hub` is not installed.
    """
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise require("huggingface_hub", "lerobot", f"fetch {repo_id}") from error
    wanted = ["meta/**", "data/**", "videos/**", "images/**"]
    try:
        return Path(
            hub.snapshot_download(
                repo_id, repo_type="dataset", revision=revision, allow_patterns=wanted, local_files_only=offline
            )
        )
    except Exception as error:  # its errors come from three libraries
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"`{repo_id}` cannot be fetched from the Hub ({why}). Check the name, or give a folder."
        ) from error
