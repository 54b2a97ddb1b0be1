"""Embeddings of thousands of pictures or videos: resumable, with the damaged ones named, on one machine or many."""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from openjepa.config import to_dict
from openjepa.data.folders import shown_name
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Items, list_files
from openjepa.errors import DataError
from openjepa.eval.embedding.embedding_store import SAMPLES, EmbeddingStore, Rows
from openjepa.eval.embedding.moments import Moments
from openjepa.eval.embedding.parts import EmbedConfig, Part, compute_parts, decode, embed_samples, parts_of, stamp_of
from openjepa.eval.probing.frozen_encoder import FrozenEncoder

# What computes parts of the samples: each once, in any order, with the same rows as `compute_parts`.
Engine = Callable[[FrozenEncoder, EmbedConfig, Items, Sequence[range]], Generator[Part]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EmbedReport:
    """What was done.

    Attributes:
        files: all files found.
        embedded: those with embeddings, earlier starts included.
        resumed: those that were finished before this start.
        rows: embeddings written in all.
        damaged: name of each undecodable file to one line that says why.
        seconds: of this start.
        output: folder of the embeddings.
        changed: files that had changed since an earlier start, and were embedded anew with their parts.
    """

    files: int
    embedded: int
    resumed: int
    rows: int
    damaged: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    output: Path = Path()
    changed: int = 0

    def text(self) -> str:
        """Returns the report as lines for a terminal."""
        head = (
            f"{self.embedded} of {self.files} files embedded ({self.resumed} of them earlier) in "
            f"{self.seconds:.1f} s: {self.rows} rows in {self.output}"
        )
        changed = [f"{self.changed} had changed and were embedded anew"] if self.changed else []
        lines = [f"  {shown_name(why if name in why else f'{name}: {why}')}" for name, why in self.damaged.items()]
        return "\n".join([head, *changed, *([f"{len(lines)} damaged", *lines] if lines else [])])


def run_embed(
    encoder: FrozenEncoder,
    config: EmbedConfig,
    *,
    items: Items | None = None,
    progress: Progress | None = None,
    engine: Engine = compute_parts,
) -> EmbedReport:
    """Embeds every file of a folder, or goes on where an earlier start was stopped.

    Args:
        encoder: the frozen network.
        config: what and how.
        items: used instead of the files of `path` (shards, a data set).
        progress: called as `progress(files_done, files)`.
        engine: this process, or `RayEngine` for a cluster; only this process writes.

    Raises:
        DataError: where nothing is found, or too many files are damaged.
        ConfigError: where `output` holds embeddings of other files, options or weights.
    """
    began = time.perf_counter()
    items = list_files(config.path, _suffixes(config.kind)) if items is None else items
    files = len(items)
    items = items if config.every is None else Moments(items, config.every)
    if files == 1 and not config.output.exists():
        decode(items, config, 0)  # a single damaged file says so itself, before a folder is made
    manifest = _manifest(encoder, config, items)
    with EmbeddingStore(config.output, config.format, manifest, partial(stamp_of, items)) as store:
        done = store.done()
        resumed = (items.finished_files(done) if isinstance(items, Moments) else len(done)) - len(store.damaged())
        _embed_rest(encoder, config, items, store, progress, engine)
    report = EmbedReport(
        files=files,
        embedded=files - len(store.damaged()),
        resumed=resumed,
        rows=sum(c.rows for c in store.commits),
        damaged=store.damaged(),
        seconds=time.perf_counter() - began,
        output=config.output,
        changed=min(store.changed, files),
    )
    (config.output / "_report.json").write_text(json.dumps(to_dict(report), indent=2) + "\n")
    return report


def _embed_rest(
    encoder: FrozenEncoder,
    config: EmbedConfig,
    items: Items,
    store: EmbeddingStore,
    progress: Progress | None,
    engine: Engine,
) -> None:
    """Embeds the parts that the store does not have yet."""
    done, files = store.done(), len(items.files if isinstance(items, Moments) else items)
    _check_damage(store, config, files)
    parts = [part for part in parts_of(len(items), config.part_size) if part[0] not in done]
    with closing(engine(encoder, config, items, parts)) as found:
        for part in found:
            store.add(part.first, part.count, part.rows, part.damaged, part.stamps)
            _check_damage(store, config, files)
            done.update(range(part.first, part.first + part.count))
            if progress is not None:
                progress(len(done), len(items))


def embed_file(encoder: FrozenEncoder, config: EmbedConfig, path: Path) -> Rows:
    """Embeds one file and returns its rows.

    Raises:
        DataError: where it cannot be decoded.
    """
    files = list_files(path, _suffixes("auto"))
    items = files if config.every is None else Moments(files, config.every)
    rows, _, _ = embed_samples(encoder, config, items, (decode(items, config, i) for i in range(len(items))))
    assert rows is not None
    return rows


def _suffixes(kind: str) -> tuple[str, ...]:
    return {
        "images": IMAGE_SUFFIXES,
        "videos": VIDEO_SUFFIXES,
        "auto": (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES),
    }[kind]


def _manifest(encoder: FrozenEncoder, config: EmbedConfig, items: Items) -> dict[str, object]:
    chosen = to_dict(config)
    for name in ("output", "batch_size", "num_threads", "max_damaged_share"):  # may change between starts
        chosen.pop(name)
    if config.every is None:  # embeddings of earlier versions can be gone on with
        chosen.pop("every")
    files = items.files if isinstance(items, Moments) else items
    samples = {SAMPLES: _names(items)} if isinstance(items, Moments) else {}
    return {"options": chosen, "files": _names(files), "model": encoder.fingerprint(), **samples}


def _names(items: Items) -> dict[str, object]:
    names = hashlib.blake2b(digest_size=8)
    for i in range(len(items)):
        names.update(items.name(i).encode("utf-8", "surrogateescape") + b"\0")
    return {"count": len(items), "names": names.hexdigest()}


def _check_damage(store: EmbeddingStore, config: EmbedConfig, total: int) -> None:
    damaged = store.damaged()
    if len(damaged) > config.max_damaged_share * total:
        name, why = next(iter(damaged.items()))
        raise DataError(
            f"{len(damaged)} of {total} files cannot be decoded, more than `max_damaged_share` "
            f"{config.max_damaged_share:g} allows; the first: {why if name in why else f'`{name}`: {why}'} "
            "The others are kept: start again with a larger share to go on."
        )
