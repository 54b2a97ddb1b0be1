"""What a server counts, in the text format that Prometheus reads."""

import bisect
from collections import Counter

BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # milliseconds


class Counters:
    """Counts by name and label, gauges, and one histogram of latency; of one thread."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self._latency = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, name: str, **labels: str) -> None:
        """Counts one; labels are words of ours, never a client's."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self.counts[f"openjepa_{name}_total" + (f"{{{shown}}}" if shown else "")] += 1

    def observe(self, milliseconds: float) -> None:
        """Counts the latency of a request."""
        self._latency[bisect.bisect_left(BUCKETS, milliseconds)] += 1
        self._sum += milliseconds

    def text(self) -> str:
        """All of it."""
        lines, kinds = [], set()
        for name, value in sorted(self.counts.items()):
            bare = name.partition("{")[0]
            if bare not in kinds:
                kinds.add(bare)
                lines.append(f"# TYPE {bare} counter")
            lines.append(f"{name} {value}")
        for name, gauge in sorted(self.gauges.items()):
            lines += [f"# TYPE openjepa_{name} gauge", f"openjepa_{name} {gauge:g}"]
        lines.append("# TYPE openjepa_latency_ms histogram")
        below = 0
        for edge, count in zip([*map(str, BUCKETS), "+Inf"], self._latency, strict=True):
            below += count
            lines.append(f'openjepa_latency_ms_bucket{{le="{edge}"}} {below}')
        return "\n".join([*lines, f"openjepa_latency_ms_sum {self._sum:.3f}", f"openjepa_latency_ms_count {below}", ""])
