"""Metrics and their intervals as an SVG picture that reads well on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from core.errors import EvalError

Series = Mapping[str, tuple[Mapping[str, float], Mapping[str, Sequence[float]]]]  # name: (means, intervals)

_WIDTH, _LEFT, _RIGHT, _TOP = 760, 120, 40, 84
_ROW, _GROUP_GAP = 20, 18  # height of a series in a group; between groups
STYLE = """
svg { --page: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d9dee3; --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37 }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #2f353d; --c0: #58a6ff; --c1: #f0883e; --c2: #56d364 }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink) }
.title { font-size: 16px; font-weight: 600 } .soft { fill: var(--soft); font-size: 12px }
.page { fill: var(--page) } .line { stroke: var(--line) }
.number { font-size: 12px; font-variant-numeric: tabular-nums }
.number { paint-order: stroke; stroke: var(--page); stroke-width: 4px }
"""


def write_plot(file: Path, title: str, note: str, series: Series) -> None:
    """Draw a dot for each metric (0 to 1) of each series, with its [low, high] interval; at most three series.

    Raises `EvalError` for another kind of file than .svg, or a refused write.
    """
    check_plot(file)
    try:
        file.write_text(svg(title, note, series), encoding="utf-8")
    except OSError as error:
        raise EvalError(f"{str(file)!r} cannot be written: {error.strerror}", "choose another folder") from error


def check_plot(file: Path) -> None:
    """Raise `EvalError` where a picture of that name cannot be drawn, before an hour was spent on measuring."""
    if file.suffix.lower() != ".svg":
        raise EvalError(f"{str(file)!r}: only .svg pictures are drawn", "name it .svg; browsers open it")
    if not file.absolute().parent.is_dir():
        raise EvalError(f"the folder of {str(file)!r} does not exist", "make it first")


def svg(title: str, note: str, series: Series) -> str:
    """The picture as text; see `write_plot`."""
    metrics = list(next(iter(series.values()))[1])
    group = _ROW * len(series) + _GROUP_GAP
    bottom = _TOP + group * len(metrics)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 48}" width="{_WIDTH}" role="img">',
        f"<title>{safe(title)}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{bottom + 48}"/>',
        f'<text class="title" x="16" y="28">{safe(title)}</text>',
        f'<text class="soft" x="16" y="{bottom + 38}">{safe(note)}</text>',
        *_legend(list(series)),
        *_axis(bottom),
    ]
    for row, metric in enumerate(metrics):
        top = _TOP + row * group
        parts.append(f'<text x="16" y="{top + group / 2 + 4:g}">{safe(metric)}</text>')
        for place, (means, intervals) in enumerate(series.values()):
            y = top + _GROUP_GAP / 2 + _ROW * (place + 0.5)
            parts.append(_dot(y, place, means[metric], *intervals[metric]))
    return "\n".join([*parts, "</svg>\n"])


def _x(value: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * value, 1)


def _legend(series: Sequence[str]) -> list[str]:
    parts, x = [], 16
    for place, name in enumerate(series):
        parts.append(f'<circle cx="{x + 5}" cy="51" r="5" fill="var(--c{place})"/>')
        parts.append(f'<text x="{x + 16}" y="55">{safe(name[:70])}</text>')
        x += 40 + sum(14 if c >= "\u2e80" else 8 for c in name)
    return parts


def _axis(bottom: int) -> list[str]:
    parts = []
    for step in range(6):
        x = _x(step / 5)
        parts.append(f'<line class="line" x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{bottom}"/>')
        parts.append(f'<text class="soft" x="{x}" y="{bottom + 16}" text-anchor="middle">{step / 5:g}</text>')
    return parts


def _dot(y: float, place: int, mean: float, low: float, high: float) -> str:
    colour = f"var(--c{place})"
    inside = _x(high) > _WIDTH - _RIGHT - 44  # no room for the number to the right of the whisker
    x, anchor = (_x(low) - 8, "end") if inside else (_x(high) + 8, "start")
    return (
        f'<line x1="{_x(low)}" x2="{_x(high)}" y1="{y:g}" y2="{y:g}" stroke="{colour}" stroke-width="3"'
        f' stroke-linecap="round" opacity="0.45"/><circle cx="{_x(mean)}" cy="{y:g}" r="5" fill="{colour}"/>'
        f'<text class="number" x="{x:g}" y="{y + 4:g}" text-anchor="{anchor}">{mean:.3f}</text>'
    )


def safe(text: str) -> str:
    """Text for XML 1.0: escaped, control characters shown as spaces."""
    return escape("".join(c if c.isprintable() else " " for c in text))
