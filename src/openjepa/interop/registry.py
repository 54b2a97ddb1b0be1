"""The published checkpoints by name: where they are, what their files do not say, and their licence.

Head counts leave no trace in a file; a checkpoint loads with the wrong one and gives wrong features. They
stand here.
"""

from dataclasses import dataclass

from openjepa.errors import unknown
from openjepa.interop.traits import Traits

META = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        url: of Meta's file, or None where only the Hub has one.
        traits: of the networks in it, or of the encoder that a probe belongs to.
        licence: SPDX name or what its repository says.
        hub: repository of the same networks in the Hugging Face layout (online encoder), or None.
        kind: what the file holds.
        num_bytes: size, where known.
        sha256: where known; an asterisk stands for digits that are not.
    """

    url: str | None
    traits: Traits
    licence: str
    hub: str | None = None
    kind: str = "networks"  # networks, probe, action
    num_bytes: int | None = None
    sha256: str | None = None


_NC, _MIT = "CC-BY-NC-4.0", "MIT"


def _ijepa(file: str, heads: int, side: int, hub: str) -> Published:
    traits = Traits("ijepa", heads, (side, side), predictor_heads=heads)
    return Published(f"{META}/ijepa/{file}.pth.tar", traits, _NC, f"facebook/{hub}")


def _vjepa_traits(side: int) -> Traits:
    return Traits("vjepa", 16, (side, side), 16, predictor_heads=16)


def _vjepa(file: str, side: int) -> Published:
    return Published(f"{META}/jepa/{file}/{file}.pth.tar", _vjepa_traits(side), _NC)


def _vjepa_probe(file: str, task: str, side: int) -> Published:
    return Published(f"{META}/jepa/{file}/{task}-probe.pth.tar", _vjepa_traits(side), _NC, kind="probe")


def _vjepa2_traits(heads: int, side: int) -> Traits:
    return Traits("vjepa2", heads, (side, side), 64)


def _vjepa2(file: str, heads: int, side: int, hub: str, kind: str = "networks") -> Published:
    traits = _vjepa2_traits(heads, side)
    return Published(f"{META}/vjepa2/{file}.pt", traits, _MIT, f"facebook/{hub}" if hub else None, kind)


def _vjepa2_probe(file: str, heads: int, side: int) -> Published:
    return Published(f"{META}/vjepa2/evals/{file}.pt", _vjepa2_traits(heads, side), _MIT, kind="probe")


def _vjepa2_1(
    file: str, heads: int, levels: tuple[int, ...], num_bytes: int | None = None, sha256: str | None = None
) -> Published:
    traits = Traits("vjepa2_1", heads, (384, 384), 64, level_layers=levels)
    url = f"{META}/vjepa2/vjepa2_1_{file}_384.pt"
    return Published(url, traits, _MIT, num_bytes=num_bytes, sha256=sha256)


PUBLISHED: dict[str, Published] = {
    "ijepa-vit-huge14-224-in1k": _ijepa("IN1K-vit.h.14-300e", 16, 224, "ijepa_vith14_1k"),
    "ijepa-vit-huge16-448-in1k": _ijepa("IN1K-vit.h.16-448px-300e", 16, 448, "ijepa_vith16_1k"),
    "ijepa-vit-huge14-224-in22k": _ijepa("IN22K-vit.h.14-900e", 16, 224, "ijepa_vith14_22k"),
    "ijepa-vit-giant16-224-in22k": _ijepa("IN22K-vit.g.16-600e", 16, 224, "ijepa_vitg16_22k"),
    "vjepa-vit-large-224": _vjepa("vitl16", 224),
    "vjepa-vit-huge-224": _vjepa("vith16", 224),
    "vjepa-vit-huge-384": _vjepa("vith16-384", 384),
    "vjepa2-vit-large-256": _vjepa2("vitl", 16, 256, "vjepa2-vitl-fpc64-256"),
    "vjepa2-vit-huge-256": _vjepa2("vith", 16, 256, "vjepa2-vith-fpc64-256"),
    "vjepa2-vit-giant-256": _vjepa2("vitg", 22, 256, "vjepa2-vitg-fpc64-256"),
    "vjepa2-vit-giant-384": _vjepa2("vitg-384", 22, 384, "vjepa2-vitg-fpc64-384"),
    "vjepa2-ac-vit-giant-256": _vjepa2("vjepa2-ac-vitg", 22, 256, "", "action"),
    "vjepa2.1-vit-base-384": _vjepa2_1("vitb_dist_vitG", 12, (2, 5, 8, 11)),
    "vjepa2.1-vit-large-384": _vjepa2_1("vitl_dist_vitG", 16, (5, 11, 17, 23), 5_151_198_524, "7ea9b7cb*82838c6"),
    "vjepa2.1-vit-giant-384": _vjepa2_1("vitg", 22, (9, 19, 29, 39), 16_878_318_788),
    "vjepa2.1-vit-gigantic-384": _vjepa2_1("vitG", 26, (11, 23, 37, 47)),
    "vjepa2-vit-large-256-ssv2": _vjepa2_probe("ssv2-vitl-16x2x3", 16, 256),
    "vjepa2-vit-large-256-diving48": _vjepa2_probe("diving48-vitl-256", 16, 256),
    "vjepa2-vit-large-256-ek100": _vjepa2_probe("ek100-vitl-256", 16, 256),
    "vjepa2-vit-giant-384-ssv2": _vjepa2_probe("ssv2-vitg-384-64x2x3", 22, 384),
    "vjepa2-vit-giant-384-diving48": _vjepa2_probe("diving48-vitg-384-32x4x3", 22, 384),
    "vjepa2-vit-giant-384-ek100": _vjepa2_probe("ek100-vitg-384", 22, 384),
    **{
        f"vjepa-{size}-{task}": _vjepa_probe(file, task, side)
        for size, file, side in (
            ("vit-large-224", "vitl16", 224),
            ("vit-huge-224", "vith16", 224),
            ("vit-huge-384", "vith16-384", 384),
        )
        for task in ("k400", "ssv2", "in1k", "places", "inat")
    },
}


def published(name: str) -> Published:
    """Returns the entry of a name.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name not in PUBLISHED:
        raise unknown("model", name, PUBLISHED, command="openjepa list models")
    return PUBLISHED[name]
