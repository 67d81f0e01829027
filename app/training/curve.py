"""The loss curve of a training as an SVG picture that reads well on a light and on a dark page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.measuring.plot import STYLE, safe
from core.files import write_whole

Curve = Sequence[tuple[float, float]]  # (step, loss)

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 400, 64, 24, 72, 48
_TICKS = 5


def write_curve(file: Path, title: str, curves: Mapping[str, Curve]) -> None:
    """Draw up to three curves over the steps; a value that is no number is left out. Raises `OSError`."""
    write_whole(file, svg(title, curves))


def svg(title: str, curves: Mapping[str, Curve]) -> str:
    """The picture as text; see `write_curve`."""
    drawn = {name: [(x, y) for x, y in curve if math.isfinite(y)] for name, curve in curves.items()}
    points = [point for curve in drawn.values() for point in curve]
    most_x = max((x for x, _ in points), default=1.0)
    most_y = max((y for _, y in points), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">',
        f"<title>{safe(title)}</title><style>{STYLE} polyline {{ fill: none; stroke-width: 2 }}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="title" x="16" y="28">{safe(title)}</text>',
    ]
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        x, y = _place(share, share, 1.0, 1.0)
        parts.append(f'<line class="line" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="soft" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{most_y * share:.3g}</text>')
        parts.append(
            f'<text class="soft" x="{x}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{most_x * share:.4g}</text>'
        )
    for place, (name, curve) in enumerate(drawn.items()):
        colour = f"var(--c{place})"
        line = " ".join("{},{}".format(*_place(x, y, most_x, most_y)) for x, y in curve)
        parts.append(f'<polyline points="{line}" stroke="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 160 * place}" y="54" style="fill: {colour}">{safe(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _place(x: float, y: float, most_x: float, most_y: float) -> tuple[float, float]:
    across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / most_x
    down = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / most_y
    return round(across, 1), round(down, 1)
