"""Builds `report.html`: one file that needs nothing else, for people who want to see what a run does.

Numbers stand in cards and tables, plots are inline SVG, episodes play in a small canvas player. The page
follows the reader's light or dark setting, narrows to a telephone, and can be read by a screen reader.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from openjepa.errors import ConfigError, check_shape
from openjepa.eval.health.collapse import LatentDiagnostics
from openjepa.eval.health.doctor import Diagnosis
from openjepa.eval.intervals import Interval
from openjepa.eval.pages.animation import encode_png, sprite_sheet
from openjepa.version import __version__

HERE = Path(__file__).parent
SCREEN_DPI = 104  # px of the page for an inch of a plot

Cell = str | int | float | bool | Interval | None


class Report:
    """A page that grows from top to bottom; every method adds one part and returns the report.

    Args:
        title: of the page.
        lead: a sentence or two below it.

    >>> page = Report("Two rooms", "What a machine learnt from random play.").cards({"success": "98.5 %"})
    >>> "98.5 %" in page.html()
    True
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title, self.lead = title, lead
        self._parts: list[str] = []
        self._sections: list[str] = []

    def section(self, title: str, text: str = "") -> "Report":
        """Begins a section; the text's paragraphs are separated by empty lines, `code` by backticks."""
        self._parts.append(f'<h2 id="part{len(self._sections)}">{html.escape(title)}</h2>')
        self._sections.append(title)
        return self.text(text) if text else self

    def text(self, text: str) -> "Report":
        """Adds paragraphs, separated by empty lines; words between backticks are set as code."""
        self._parts += [f"<p>{_prose(part)}</p>" for part in text.split("\n\n") if part.strip()]
        return self

    def code(self, text: str) -> "Report":
        """Adds lines of code or of a terminal."""
        self._parts.append(f"<pre><code>{html.escape(text)}</code></pre>")
        return self

    def cards(self, numbers: Mapping[str, Cell | tuple[Cell, str]]) -> "Report":
        """Adds key numbers: name to value, or to (value, note)."""
        cards = []
        for name, entry in numbers.items():
            value, note = entry if isinstance(entry, tuple) else (entry, "")
            if isinstance(value, Interval):
                note = note or f"{value.confidence:.0%} interval {_bounds(value)}"
                value = f"{100 * value.estimate:.1f} %"
            below = f'<dd class="note">{_prose(note)}</dd>' if note else ""
            cards.append(f'<div class="card"><dt>{_prose(name)}</dt><dd class="value">{_cell(value)}</dd>{below}</div>')
        self._parts.append(f'<dl class="cards">{"".join(cards)}</dl>')
        return self

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        caption: str = "",
        best: int | None = None,
    ) -> "Report":
        """Adds a table; an `Interval` is drawn as a proportion with its range.

        Args:
            columns: headings.
            rows: cells, the first of which names the row.
            caption: what the reader should see in it.
            best: number of the row to stand out.

        Raises:
            ConfigError: for a row of another length.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ConfigError(f"every row must have {len(columns)} cells; got {list(row)}.")
        head = "".join(f'<th scope="col">{_prose(name)}</th>' for name in columns)
        body = ""
        for i, (name, *cells) in enumerate(rows):
            mark = ' class="best"' if i == best else ""
            inner = "".join(f"<td>{_cell(cell)}</td>" for cell in cells)
            body += f'<tr{mark}><th scope="row">{_cell(name)}</th>{inner}</tr>'
        below = f"<caption>{_prose(caption)}</caption>" if caption else ""
        inside = f"{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        self._parts.append(f'<div class="wide"><table>{inside}</table></div>')
        return self

    def figure(self, figure: Figure, caption: str) -> "Report":
        """Adds a plot as inline SVG; one without a transparent background gets a white sheet below it."""
        out = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "openjepa"}):
            figure.savefig(out, format="svg", metadata={"Date": None})
        kind = "panel" if figure.patch.get_alpha() == 0 else "paper"
        width = round(figure.get_figwidth() * SCREEN_DPI)
        source = _data(out.getvalue(), "svg+xml")
        image = f'<img class="plot" style="width: {width}px" src="{source}" alt="{_alt(caption)}">'
        self._parts.append(f'<figure><div class="{kind}">{image}</div>{_caption(caption)}</figure>')
        return self

    def image(self, picture: np.ndarray, caption: str) -> "Report":
        """Adds a still picture [H, W, 3] uint8."""
        check_shape(picture, "H W C=3", name="picture")
        source = _data(encode_png(picture), "png")
        image = f'<img class="still" src="{source}" alt="{_alt(caption)}">'
        self._parts.append(f"<figure>{image}{_caption(caption)}</figure>")
        return self

    def animation(self, pictures: np.ndarray, caption: str, *, fps: float = 10.0) -> "Report":
        """Adds one animation of pictures [T, H, W, 3] uint8 with a player."""
        self._parts.append(_player(pictures, caption, fps))
        return self

    def gallery(self, episodes: Sequence[tuple[np.ndarray, str]], *, fps: float = 10.0) -> "Report":
        """Adds several animations beside each other: (pictures [T, H, W, 3], caption)."""
        players = "".join(_player(pictures, caption, fps) for pictures, caption in episodes)
        self._parts.append(f'<div class="gallery">{players}</div>')
        return self

    def diagnosis(self, verdict: Diagnosis, found: LatentDiagnostics | None = None) -> "Report":
        """Adds the doctor's verdict in words, and what can be read from the latent."""
        state = "healthy" if verdict.healthy else "sick"
        sick = f"Sick: {', '.join((verdict.kind, *verdict.also))}"
        title = "Healthy: no sign of collapse" if verdict.healthy else sick
        remedies = ""
        if verdict.remedies:
            items = "".join(f"<li>{_prose(line)}</li>" for line in verdict.remedies)
            remedies = f"<h3>What to change</h3><ol>{items}</ol>"
        findings = "".join(f"<li>{_prose(line)}</li>" for line in verdict.findings)
        inside = f"<strong>{html.escape(title)}</strong><ul>{findings}</ul>{remedies}"
        self._parts.append(f'<div class="verdict {state}">{inside}</div>')
        return self if found is None or found.probe is None else self._probe_table(found)

    def _probe_table(self, found: LatentDiagnostics) -> "Report":
        assert found.probe is not None
        count = len(found.probe.linear)
        names = found.state_names or tuple(f"state {i}" for i in range(count))
        columns = ["state", "linear", "MLP", "MLP within episodes"]
        parts: list[Sequence[float | None]] = [found.probe.linear, found.probe.mlp, found.probe.mlp_within]
        if found.random_probe is not None:
            columns.append("untrained: MLP")
            parts.append(found.random_probe.mlp)
        rows: list[list[Cell]] = [
            [name, *(part[i] if i < len(part) else None for part in parts)] for i, name in enumerate(names)
        ]
        caption = "R2 of reading the true state out of the latent, on held-out episodes."
        return self.table(columns, rows, caption=caption)

    def html(self) -> str:
        """Returns the page."""
        links = "".join(f'<a href="#part{i}">{html.escape(name)}</a>' for i, name in enumerate(self._sections))
        menu = f'<nav aria-label="Sections">{links}</nav>' if len(self._sections) > 1 else ""
        lead = f'<p class="lead">{_prose(self.lead)}</p>' if self.lead else ""
        style, script = (HERE / "report.css").read_text("utf-8"), (HERE / "report.js").read_text("utf-8")
        body = "\n".join(self._parts)
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(self.title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
<header><h1>{html.escape(self.title)}</h1>{lead}{menu}</header>
{body}
<footer>Written by OpenJEPA {__version__}. This page is one file and loads nothing.</footer>
</main>
<script>
{script}</script>
</body>
</html>
"""

    def write(self, path: Path | str) -> Path:
        """Writes the page; returns its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html(), encoding="utf-8")
        return path


def _player(pictures: np.ndarray, caption: str, fps: float) -> str:
    sizes = check_shape(pictures, "T H W C=3", name="pictures")
    sheet, columns = sprite_sheet(pictures)
    count, height, width = sizes["T"], sizes["H"], sizes["W"]
    facts = {"count": count, "columns": columns, "width": width, "height": height, "fps": fps}
    data = " ".join(f'data-{name}="{value}"' for name, value in facts.items())
    canvas = f'<canvas width="{width}" height="{height}" role="img" aria-label="{_alt(caption)}"></canvas>'
    slider = f'<input type="range" min="0" max="{count - 1}" value="0" aria-label="Step">'
    button = '<button type="button" aria-label="Play">▶</button>'
    bar = f'<div class="bar">{button}{slider}<output></output></div>'
    source = f'<script type="text/plain">{_data(sheet, "webp")}</script>'
    return f'<figure><div class="player" {data}>{canvas}{bar}{source}</div>{_caption(caption)}</figure>'


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Interval):
        return f'{100 * value.estimate:.1f} %<span class="bounds">{_bounds(value)}</span>{_range(value)}'
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else _prose(value)


def _bounds(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def _range(interval: Interval) -> str:
    width = 48
    low, at, high = (round(width * x, 1) for x in (interval.low, interval.estimate, interval.high))
    box = f'width="{width + 8}" height="12" viewBox="-4 0 {width + 8} 12"'
    return (
        f'<svg class="range" {box} aria-hidden="true">'
        f'<line class="rail" x1="0" x2="{width}" y1="6" y2="6" stroke-width="2"/>'
        f'<line class="span" x1="{low}" x2="{high}" y1="6" y2="6" stroke-width="5" stroke-linecap="round"/>'
        f'<circle class="dot" cx="{at}" cy="6" r="4"/></svg>'
    )


def _prose(text: str) -> str:
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _caption(text: str) -> str:
    return f"<figcaption>{_prose(text)}</figcaption>" if text else ""


def _alt(text: str) -> str:
    return html.escape(text.replace("`", ""), quote=True)


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
