"""A passage where it stands: pictures of PDF pages against where their text was put, and the route that serves them."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pikepdf import Dictionary, Name, Pdf
from PIL import Image

from app.answering.view import has_picture, page_picture, passage, passage_text
from app.http.server import build
from app.keeping.index import run
from app.running.bases import State
from app.running.users import Users
from core.config import Config, load
from core.errors import AccessError, CatalogError, ReadError
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.retrieval.sql import select

Write = Callable[[str, str], Path]
SCALE = 130 / 72  # pixels a point
MARKER = (255, 232, 120)


def paper(file: Path, pages: list[list[tuple[int, int, str]]], size: int = 400, rotate: int = 0) -> Path:
    """A PDF of square pages with text at (x, y) points from the lower left corner, in 20 point Helvetica."""
    pdf = Pdf.new()
    for lines in pages:
        page = pdf.add_blank_page(page_size=(size, size))
        font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
        page.Resources = Dictionary(Font=Dictionary(F=font))
        shown = "".join(f"BT /F 20 Tf {x} {y} Td ({text}) Tj ET\n" for x, y, text in lines)
        page.Contents = pdf.make_stream(shown.encode())
        if rotate:
            page.Rotate = rotate
    file.parent.mkdir(parents=True, exist_ok=True)
    pdf.save(file)
    return file


def opened(cfg: Config, folder: Path, embedder: Embedder) -> Index:
    report = run(cfg, "kb", [folder])
    assert report.failed == []
    return Index.open(Path(cfg.app.data), "kb", embedder)


def chunks(index: Index, path: str) -> list[Hit]:
    ids = [i for (i,) in select(index.catalog, "SELECT id FROM chunks ORDER BY document_id, ordinal")]
    return [hit for hit in index.hits(ids).values() if hit.path == path]


def marks(png: bytes) -> tuple[tuple[int, int], set[tuple[int, int]]]:
    """The size of a picture, and the tiles of 20 by 20 points, counted from the upper left, with marker in them."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    tile = 20 * SCALE
    data: Any = picture.load()
    found = {
        (int(x / tile), int(y / tile))
        for x in range(picture.width)
        for y in range(picture.height)
        if data[x, y] == MARKER
    }
    return picture.size, found


def test_the_passage_is_marked_where_it_stands_on_its_page_and_nothing_else_is(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    paper(tmp_path / "docs" / "manual.pdf", [[(20, 360, "Turn the dial")], [(20, 45, "The lamp is red")]])
    index = opened(cfg, tmp_path / "docs", embedder)
    first, second = chunks(index, "manual.pdf")
    assert (first.text, first.page, second.text, second.page) == ("Turn the dial", 1, "The lamp is red", 2)
    size, found = marks(page_picture(index, first.chunk_id, cfg.ingest))
    assert size == (723, 723)  # 400 points at 130 dpi
    # Helvetica 20: ascent 14, descent 4 points around the base line at 40 from the top; about 110 points wide from 20.
    assert {y for _, y in found} == {1, 2}
    assert min(x for x, _ in found) in (0, 1)
    assert max(x for x, _ in found) in (6, 7)
    _, found = marks(page_picture(index, second.chunk_id, cfg.ingest))
    assert {y for _, y in found} == {17, 18}  # base line at 355 from the top: between 340 and 360, tail below


def test_on_a_page_that_is_shown_turned_the_mark_turns_with_it(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    paper(tmp_path / "docs" / "turned.pdf", [[(20, 360, "Turn the dial")]], rotate=90)
    index = opened(cfg, tmp_path / "docs", embedder)
    _, found = marks(page_picture(index, chunks(index, "turned.pdf")[0].chunk_id, cfg.ingest))
    assert {x for x, _ in found} == {17, 18}  # clockwise: what stood at the top stands at the right
    assert max(y for _, y in found) in (6, 7)


def test_of_a_passage_that_the_page_says_otherwise_the_sentences_it_does_say_are_marked(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    lines = [(20, 360, "Turn the dial slowly."), (20, 200, "A stamp."), (20, 45, "The lamp is red.")]
    paper(tmp_path / "docs" / "a.pdf", [lines])
    index = opened(cfg, tmp_path / "docs", embedder)
    chunk = chunks(index, "a.pdf")[0]
    with index.writing() as catalog:
        text = "Turn the dial slowly. A seal that is not there. The lamp is red."
        select(catalog, "UPDATE chunks SET text = ? WHERE id = ?", [text, chunk.chunk_id])
    _, found = marks(page_picture(index, chunk.chunk_id, cfg.ingest))
    assert {y for _, y in found} == {1, 2, 17, 18}


def test_a_huge_page_is_drawn_small(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    paper(tmp_path / "docs" / "poster.pdf", [[(20, 360, "A poster of two hundred inches")]], size=14_400)
    index = opened(cfg, tmp_path / "docs", embedder)
    picture = Image.open(BytesIO(page_picture(index, chunks(index, "poster.pdf")[0].chunk_id, cfg.ingest)))
    assert 1_900_000 < picture.width * picture.height <= 2_000_000


def test_a_file_that_changed_or_is_gone_is_said_to_be(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    file = paper(tmp_path / "docs" / "manual.pdf", [[(20, 360, "Turn the dial")]])
    index = opened(cfg, tmp_path / "docs", embedder)
    chunk = chunks(index, "manual.pdf")[0]
    paper(file, [[(20, 360, "Turn the wheel")]])
    with pytest.raises(ReadError, match="has changed since it was indexed"):
        page_picture(index, chunk.chunk_id, cfg.ingest)
    file.unlink()
    with pytest.raises(ReadError, match="disappeared"):
        page_picture(index, chunk.chunk_id, cfg.ingest)


def test_a_page_that_takes_too_long_ends_alone_and_the_next_is_drawn(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    paper(tmp_path / "docs" / "manual.pdf", [[(20, 360, "Turn the dial")]])
    index = opened(cfg, tmp_path / "docs", embedder)
    chunk = chunks(index, "manual.pdf")[0]
    with pytest.raises(ReadError, match="took longer than"):
        page_picture(index, chunk.chunk_id, cfg.ingest.model_copy(update={"read_seconds": 0.000_01}))
    assert page_picture(index, chunk.chunk_id, cfg.ingest).startswith(b"\x89PNG")


def test_a_text_has_no_picture_and_is_shown_with_what_stands_around_it(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    sentences = [f"Sentence number {n} says that valve {n} is opened before pump {n}." for n in range(200)]
    file = write("valves.md", " ".join(sentences))
    narrow = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 60, "chunk_overlap": 20})})
    index = opened(narrow, file.parent, embedder)
    found = chunks(index, "valves.md")
    chunk = found[10]
    assert chunk.start < found[9].end  # they overlap
    around = passage_text(index, chunk)
    said = "".join((around.before + around.text + around.after).split())
    whole = "".join(file.read_text().split())
    assert whole.count(said) == 1
    assert said.startswith("".join(found[8].text.split()))
    assert said.endswith("".join(found[12].text.split()))
    assert passage_text(index, found[0]).before == passage_text(index, found[-1]).after == ""
    assert not has_picture(chunk)
    with pytest.raises(ReadError, match="no pages"):
        page_picture(index, chunk.chunk_id, cfg.ingest)


def test_one_turns_from_passage_to_passage_and_from_page_to_page(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    paper(tmp_path / "docs" / "a.pdf", [[(20, 360, "Page one")], [], [(20, 360, "Page three")]])
    index = opened(cfg, tmp_path / "docs", embedder)
    one, three = chunks(index, "a.pdf")
    assert (index.catalog.neighbours(one).previous, index.catalog.neighbours(one).previous_page) == (None, None)
    assert (index.catalog.neighbours(one).next, index.catalog.neighbours(one).next_page) == (
        three.chunk_id,
        three.chunk_id,
    )
    assert (index.catalog.neighbours(three).previous, index.catalog.neighbours(three).previous_page) == (
        one.chunk_id,
        one.chunk_id,
    )
    with pytest.raises(CatalogError, match="holds no passage 4711"):
        passage(index, 4711)


def test_pictures_are_served_by_number_only_and_to_those_who_may_see_them(tmp_path: Path, write: Write) -> None:
    write("note.md", "# Note\n\nNo page here.")
    paper(tmp_path / "docs" / "manual.pdf", [[(20, 360, "Turn the dial")]])
    state = State(load(flags={"app.data": str(tmp_path / "data")}, environ={}))
    run(state.cfg, "kb", [tmp_path / "docs"])
    index = state.bases.get("kb")
    chunk, text = chunks(index, "manual.pdf")[0].chunk_id, chunks(index, "note.md")[0].chunk_id
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        answer = client.get(f"/view/kb/{chunk}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["cache-control"] == "no-store"  # access may be taken away
        assert Image.open(BytesIO(answer.content)).size == (723, 723)
        assert client.get(f"/view/kb/{text}.png").status_code == 409
        assert client.get("/view/kb/4711.png").status_code == 404
        assert client.get(f"/view/{'9' * 30}/1.png").status_code == 404
        assert client.get(f"/view/kb/{'9' * 30}.png").status_code == 404
        for bad in ("kb/..%2f..%2fmanual.pdf.png", "..%2fkb/1.png", "kb/x.png", "%2e%2e/1.png"):
            assert client.get(f"/view/{bad}").status_code in (400, 404), bad

        class Strict(Users):
            def require(self, request: Any, role: Any, kb: str = "") -> Any:
                asked.append((role, kb))
                raise AccessError("not you", "ask an admin")

        asked: list[tuple[str, str]] = []
        state.users = Strict()
        refused = client.get(f"/view/kb/{chunk}.png")
        assert refused.status_code >= 400
        assert re.search("not you", refused.text)
        assert asked == [("reader", "kb")]
