"""The pooled probes with features that are computed in parts, so that files may be many and workers far away.

The single-process path holds the pixels of all files; here only features are held. Batches end where parts end, so
features agree with that path within float32 rounding.
"""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from openjepa.data.items import FileItems
from openjepa.data.sampling import DamageLog
from openjepa.data.videos import is_picture
from openjepa.errors import ConfigError, DataError
from openjepa.eval.embedding.embed import Engine
from openjepa.eval.embedding.parts import EmbedConfig, parts_of
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.eval.probing.frozen_probes import (
    FrozenProbeConfig,
    Kind,
    LabelledSet,
    ProbeReport,
    labelled_sets,
    probe_report,
    score_probe,
)
from openjepa.eval.probing.linear_probe import choose_rows


def run_probe_in_parts(
    encoder: FrozenEncoder,
    config: FrozenProbeConfig,
    engine: Engine,
    *,
    control: FrozenEncoder | None = None,
    progress: Callable[[str], None] | None = None,
) -> ProbeReport:
    """Runs `knn` and `linear` on the encoder and on its control; see `run_probe`.

    Args:
        encoder: the frozen network.
        config: files and probes.
        engine: computes the features.
        control: the same network with random weights; drawn from `config.seed` where None.
        progress: called with a line for each thing that begins.

    Raises:
        ConfigError: for the attentive probe, which needs every token.
        DataError: where too many files are damaged, or pictures and videos are mixed.
    """
    if "attentive" in config.probes:
        raise ConfigError("`probes` must be of knn and linear where features are computed in parts; got attentive.")
    train, test, numbers = labelled_sets(config)
    files = FileItems((*train.paths, *test.paths))
    if len({is_picture(path) for path in files.paths}) > 1:
        raise DataError("a probe needs pictures or videos, not both together. Separate them.")
    classes = [numbers[str(items.class_name(i))] for items in (train, test) for i in range(len(items))]
    say = progress or (lambda line: None)
    found: dict[Kind, list[tuple[float, float | None]]] = {name: [] for name in config.probes}
    damage = DamageLog(len(files), config.max_damaged_share)
    for name, network in (("encoder", encoder), ("random init", control or encoder.untrained(config.seed))):
        say(f"{name}: encoding {len(files)} files")
        index, features = _features(network, config, files, engine, damage)
        labels, is_test = torch.tensor(classes)[index], index >= len(train)
        kept = (~is_test).nonzero().flatten()
        generator = torch.Generator().manual_seed(config.seed)
        kept = kept[choose_rows(labels[kept], shots=config.shots, share=config.share, generator=generator)]
        for probe in config.probes:
            say(f"{name}: {probe} probe")
            sides = (features[kept], labels[kept], features[is_test], labels[is_test])
            found[probe].append(score_probe(probe, *sides, config))
    real = [os.path.realpath(files.paths[i]) for i in index.tolist()]
    sets = [
        LabelledSet(torch.empty(0), labels[rows], tuple(real[i] for i in rows.tolist()))
        for rows in (kept, is_test.nonzero().flatten())
    ]
    return replace(probe_report(found, *sets), damaged=damage.reasons)


def _features(
    encoder: FrozenEncoder, config: FrozenProbeConfig, files: FileItems, engine: Engine, damage: DamageLog
) -> tuple[Tensor, Tensor]:
    """Numbers [N] of the files that can be decoded, in order, and their features [N, D]."""
    embedding = EmbedConfig(
        size=config.size,
        num_frames=config.num_frames,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
    )
    parts = parts_of(len(files), 4 * config.batch_size)
    found = []
    with closing(engine(encoder, embedding, files, parts)) as computed:
        for part in computed:
            for name, why in part.damaged.items():
                damage.add(name, why)
            if part.rows is not None:
                found.append(part.rows)
    if not found:
        raise DataError("a probe needs at least one file that can be decoded; got none.")
    found.sort(key=lambda rows: int(rows.index[0]))
    index = np.concatenate([rows.index for rows in found])
    return torch.from_numpy(index), torch.from_numpy(np.concatenate([rows.vectors for rows in found]))
