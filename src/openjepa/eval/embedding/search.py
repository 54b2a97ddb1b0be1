"""Nearest neighbours of a picture, a video or a moment in a folder of embeddings, by cosine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openjepa.config import from_dict
from openjepa.data.folders import file_stamp, shown_name
from openjepa.errors import ConfigError, DataError, unknown
from openjepa.eval.embedding.embed import EmbedConfig, embed_file
from openjepa.eval.embedding.embedding_store import Rows, read_commits, read_manifest, read_parts
from openjepa.eval.probing.frozen_encoder import FrozenEncoder


@dataclass(frozen=True)
class SearchConfig:
    """What is looked for, and where.

    Attributes:
        embeddings: folder that `openjepa embed` wrote, pooled.
        query: name of an embedded file, or any other picture or video (which needs the encoder).
        k: neighbours returned, >= 1.
        moments: whether the rows of one file compete as moments; else its best row stands for it.
        at: second of the moment that is looked for, in an embedded video with several; None for all of the file.
    """

    embeddings: Path = Path("embeddings")
    query: Path = Path()
    k: int = 10
    moments: bool = False
    at: float | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"`k` must be >= 1; got {self.k}.")


@dataclass(frozen=True)
class Hit:
    """A neighbour: its file, the moment in seconds, and the cosine to the query, -1 to 1."""

    path: str
    time: float
    score: float


@dataclass(frozen=True)
class SearchReport:
    """Neighbours, nearest first."""

    query: str
    hits: tuple[Hit, ...]

    def text(self) -> str:
        """Returns the neighbours as lines for a terminal."""
        if not self.hits:
            return "no neighbours: nothing else is embedded"
        return "\n".join(f"{hit.score:7.4f}  {hit.time:8.2f} s  {shown_name(hit.path)}" for hit in self.hits)


def run_search(config: SearchConfig, encoder: FrozenEncoder | None = None) -> SearchReport:
    """Finds the neighbours of a file; an embedded one is not its own neighbour, and is encoded anew if it has changed.

    Moments of a video are neighbours of another one of it, and of the video where it is the only one: then those come
    first that are most like all of it.

    Args:
        config: query and folder.
        encoder: the one that made the embeddings; only for a query that is not among them.

    Raises:
        DataError: where the query is neither embedded nor a file, or the folder holds dense embeddings, or such that
            are not finite.
        ConfigError: where the encoder is another one.
    """
    manifest, query = read_manifest(config.embeddings), str(config.query)
    if manifest["options"]["pooling"] == "dense":
        raise DataError(
            f"`{config.embeddings}` must hold one vector per row; it is dense. Embed again with `pooling` mean."
        )
    own = _stored_query(config, manifest)
    found = own.wanted(config.at) if own is not None and not own.has_changed else None
    if found is None:
        if config.at is not None:
            raise ConfigError(f"`at` must name a moment of an embedded file; `{query}` is not among the embeddings.")
        found = _embed_query(config, manifest, encoder, own is not None)
    wanted = _unit(_unit(found.astype(np.float32)).mean(0, keepdims=True))[0]  # [D]
    hits: list[Hit] = []
    for rows in read_parts(config.embeddings):
        if not np.isfinite(rows.vectors).all():
            raise DataError(
                f"`{config.embeddings}` must hold finite embeddings; it holds NaN or infinity. Embed again."
            )
        scores = _unit(rows.vectors.astype(np.float32)) @ wanted  # [R]
        itself = np.array([p == query for p in rows.paths])
        if config.moments and own is not None and (config.at is not None or own.is_alone):
            itself &= config.at is not None and rows.time == own.times[own.row_at(config.at)]
        scores[itself] = -np.inf
        hits += _best(rows, scores, config)
        hits = sorted(hits, key=lambda h: -h.score)[: config.k]
    return SearchReport(query, tuple(hits))


def nearest(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest rows by cosine.

    Args:
        queries: [Q, D].
        vectors: [R, D].
        k: neighbours, at most R.

    Returns:
        Row numbers [Q, k] and cosines [Q, k], nearest first.
    """
    if not 1 <= k <= len(vectors):
        raise ConfigError(f"`k` must be 1 to {len(vectors)}, the number of rows; got {k}.")
    scores = _unit(queries.astype(np.float32)) @ _unit(vectors.astype(np.float32)).T
    near = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, near, 1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, 1)
    return near, np.take_along_axis(scores, near, 1)


def _best(rows: Rows, scores: np.ndarray, config: SearchConfig) -> list[Hit]:
    order = np.argsort(-scores, kind="stable")
    hits: list[Hit] = []
    seen: set[str] = set()
    for i in order:
        if len(hits) == config.k or scores[i] == -np.inf:
            break
        if config.moments or rows.paths[i] not in seen:
            seen.add(rows.paths[i])
            hits.append(Hit(rows.paths[i], float(rows.time[i]), float(scores[i])))
    return hits


@dataclass(frozen=True)
class _Stored:
    """The rows of the query itself.

    Attributes:
        vectors: [R, D].
        times: [R] seconds.
        is_alone: nothing else is embedded.
        has_changed: its file is no longer what was embedded.
    """

    vectors: np.ndarray
    times: np.ndarray
    is_alone: bool
    has_changed: bool

    def row_at(self, second: float) -> int:
        """The row whose moment holds a second: the first that has seen it, else the last."""
        later = np.where(self.times >= second, self.times, np.inf)
        return int(later.argmin() if np.isfinite(later).any() else self.times.argmax())

    def wanted(self, second: float | None) -> np.ndarray:
        """The vectors that are looked for: of all of the file, or of the moment that holds a second."""
        return self.vectors if second is None else self.vectors[[self.row_at(second)]]


def _stored_query(config: SearchConfig, manifest: dict) -> _Stored | None:
    """The rows of the query, or None where it is not embedded."""
    query, vectors, times, index, others = str(config.query), [], [], -1, 0
    for rows in read_parts(config.embeddings):
        own = np.array([path == query for path in rows.paths])
        others += int((~own).sum())
        if own.any():
            vectors.append(rows.vectors[own])
            times.append(rows.time[own])
            index = int(rows.index[own][0])
    if not vectors:
        return None
    commits = read_commits(config.embeddings)
    if manifest["options"].get("every") is None:
        commit = next(c for c in commits if c.first <= index < c.first + c.count)
        stamps = commit.stamps[index - commit.first : index - commit.first + 1]  # none in folders of version 0.1.0
    else:  # commits count stretches of files, not files
        stamps = [stamp for commit in commits for stamp in commit.stamps]
    has_changed = bool(stamps) and file_stamp(Path(config.query)) not in (*stamps, "missing")
    return _Stored(np.concatenate(vectors), np.concatenate(times), not others, has_changed)


def _embed_query(config: SearchConfig, manifest: dict, encoder: FrozenEncoder | None, has_changed: bool) -> np.ndarray:
    if not config.query.is_file():
        names = {p for rows in read_parts(config.embeddings) for p in rows.paths}
        raise DataError(f"{unknown('file', str(config.query), names)} It must be embedded, or exist.")
    if encoder is None:
        why = "has changed since it was embedded" if has_changed else "is not among the embeddings"
        raise ConfigError(f"`{config.query}` {why}; the model is needed to encode it.")
    if encoder.fingerprint() != manifest["model"]:
        raise ConfigError(f"the model must be the one that made `{config.embeddings}`; its weights or settings differ.")
    return embed_file(encoder, from_dict(EmbedConfig, manifest["options"]), config.query).vectors


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
