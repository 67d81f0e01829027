import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from app.measuring.plot import check_plot, svg, write_plot
from core.errors import EvalError

SERIES = {
    "a <b> & c": ({"ndcg@10": 0.5, "p50_ms": 3.0}, {"ndcg@10": [0.25, 0.75]}),
    "两": ({"ndcg@10": 1.0, "p50_ms": 4.0}, {"ndcg@10": [1.0, 1.0]}),
}
NS = "{http://www.w3.org/2000/svg}"


def test_dots_and_intervals_stand_where_their_values_are() -> None:
    root = ET.fromstring(svg("t\x00<i>", "10 questions", SERIES))
    grid = [float(line.get("x1", "")) for line in root.findall(f"{NS}line[@class]")]
    assert grid == [120.0, 240.0, 360.0, 480.0, 600.0, 720.0]  # 0, 0.2 to 1
    dots = root.findall(f"{NS}circle")[2:]  # the first two are the legend's
    assert [float(dot.get("cx", "")) for dot in dots] == [420.0, 720.0]
    whiskers = root.findall(f"{NS}line[@stroke]")
    assert [(float(w.get("x1", "")), float(w.get("x2", ""))) for w in whiskers] == [(270.0, 570.0), (720.0, 720.0)]
    texts = [text.text for text in root.iter(f"{NS}text")]
    assert {"t <i>", "a <b> & c", "两", "ndcg@10", "0.500", "1.000", "10 questions"} <= set(texts)


def test_only_svg_files_in_folders_that_are_there_are_drawn(tmp_path: Path) -> None:
    for name in ("a.png", "none/a.svg"):
        with pytest.raises(EvalError):
            check_plot(tmp_path / name)
    write_plot(tmp_path / "a.svg", "t", "n", SERIES)
    assert "prefers-color-scheme: dark" in (tmp_path / "a.svg").read_text("utf-8")
