"""Which processor this is: what a speed was measured on, and what a choice of kernels may depend on."""

import functools
import platform
from dataclasses import dataclass
from pathlib import Path

AVX512_BY_FAMILY = {25: "Zen 4", 26: "Zen 5"}  # of AMD; Zen 3 is of family 25 too, and has no AVX-512


@dataclass(frozen=True)
class Processor:
    """One kind of core.

    Attributes:
        name: as the processor calls itself, which in a virtual machine may be the brand alone.
        vendor: `AuthenticAMD`, `GenuineIntel`, ...; empty where the system does not say.
        family: its number, 0 where unknown. model: likewise.
        flags: instructions, such as `avx512f`.
    """

    name: str
    vendor: str = ""
    family: int = 0
    model: int = 0
    flags: frozenset[str] = frozenset()

    @property
    def generation(self) -> str:
        """`Zen 4` or `Zen 5`, the ones that some choice depends on; empty for all others."""
        known = self.vendor == "AuthenticAMD" and "avx512f" in self.flags
        return AVX512_BY_FAMILY.get(self.family, "") if known else ""

    def text(self) -> str:
        """One line for reports of speed."""
        parts = [self.generation] if self.generation else []
        parts += [f"family {self.family} model {self.model}"] if self.family else []
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


def parse(cpuinfo: str) -> Processor:
    """Reads the first processor of what Linux shows in `/proc/cpuinfo`."""
    fields: dict[str, str] = {}
    for line in cpuinfo.split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()

    def number(key: str) -> int:
        return int(fields[key]) if fields.get(key, "").isdigit() else 0

    return Processor(
        fields.get("model name") or platform.processor() or platform.machine(),
        fields.get("vendor_id", ""),
        number("cpu family"),
        number("model"),
        frozenset(fields.get("flags", "").split()),
    )


@functools.cache
def processor() -> Processor:
    """Returns the processor of this machine; its name alone where the system does not show more."""
    try:
        return parse(Path("/proc/cpuinfo").read_text())
    except OSError:
        return parse("")
