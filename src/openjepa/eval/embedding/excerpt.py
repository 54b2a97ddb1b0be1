"""The samples of one part alone: what a worker on another machine is handed instead of the names of a million files."""

from dataclasses import replace

from openjepa.data.items import Content, FileItems, Items
from openjepa.data.shards import ShardItems
from openjepa.eval.embedding.moments import Moments, Stretch
from openjepa.eval.embedding.parts import EmbedConfig, Part, compute_parts
from openjepa.eval.probing.frozen_encoder import FrozenEncoder


class Excerpt:
    """Samples `part` of any set, numbered from 0.

    Args:
        items: the set, kept whole: one that reads its samples when asked, such as a data set on disk.
        part: numbers of the samples.
    """

    def __init__(self, items: Items, part: range) -> None:
        self.items, self.part = items, part

    def __len__(self) -> int:
        return len(self.part)

    def name(self, index: int) -> str:
        """As in the set."""
        return self.items.name(self.part[index])

    def content(self, index: int) -> Content:
        """As in the set."""
        return self.items.content(self.part[index])

    def label(self, index: int) -> int | None:
        """As in the set."""
        return self.items.label(self.part[index])


def excerpt(items: Items, part: range) -> tuple[Items, int]:
    """Cuts a part out of a set; returns it, and the number of its first file in the whole set."""
    if isinstance(items, FileItems):
        return FileItems(items.paths[part.start : part.stop]), part.start
    if isinstance(items, ShardItems):
        return items.excerpt(part), part.start
    if isinstance(items, Moments):
        stretches = items.stretches[part.start : part.stop]
        first = stretches[0].file
        files, _ = excerpt(items.files, range(first, stretches[-1].file + 1))
        return Moments(files, items.every, [Stretch(s.file - first, s.first, s.count) for s in stretches]), first
    return Excerpt(items, part), part.start


def compute_excerpt(encoder: FrozenEncoder, config: EmbedConfig, items: Items, first_file: int, part: range) -> Part:
    """Computes a part that was cut out by `excerpt`; its rows have the numbers of the whole set again."""
    (found,) = compute_parts(encoder, config, items, [range(len(items))])
    rows = found.rows if found.rows is None else replace(found.rows, index=found.rows.index + first_file)
    return replace(found, first=part.start, rows=rows)
