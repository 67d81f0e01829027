import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.index import chunker, sync
from core.config import Config
from core.types import Query
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.reading import Version
from retrieval.search import rank, retrieve, search
from retrieval.versions import named_versions, newer, without_superseded

Write = Callable[[str, str], Path]
DAY = 86_400
FACTS = [f"Rule {i}: request {i * 37 % 101} goes to desk {i * 7 % 13} before noon on day {i % 28}." for i in range(40)]


def policy(days: int) -> str:
    return "# Leave policy\n\n" + " ".join(FACTS) + f"\n\nAnnual leave is {days} days."


def index_of(cfg: Config, embedder: Embedder, folder: Path) -> Index:
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    sync(index, folder, cfg.ingest)
    return index


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("v1.10/a.md", 0), ("v1.9/a.md", 99 * DAY), True),
        (("v1.9/a.md", 99 * DAY), ("v1.10/a.md", 0), False),
        (("手册2025.docx", 0), ("手册2024.docx", 0), True),
        (("new/a.md", 5 * DAY), ("old/a.md", 0), True),
        (("new/a.md", 60), ("old/a.md", 0), False),
        (("a.md", 0), ("a.md", 0), False),
    ],
)
def test_numbers_in_the_path_decide_then_the_time(one: tuple[str, int], other: tuple[str, int], expected: bool) -> None:
    versions = [Version(i, path, seconds * 1_000_000_000, b"") for i, (path, seconds) in enumerate((one, other))]
    assert newer(*versions) is expected


def test_the_newest_of_several_versions_answers_and_names_the_others(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    for year, days in ((2023, 20), (2024, 22), (2025, 25)):
        write(f"{year}/policy.md", policy(days))
    folder = write("travel.md", "# Travel\n\nAnnual budget is 900 euros, leave receipts at desk 4.").parent
    index = index_of(cfg, embedder, folder)
    hits = search(index, ["How many days is annual leave?"], cfg.retrieval, k=50)
    assert "25 days" in hits[0].text
    assert hits[0].older == ("2023/policy.md", "2024/policy.md")
    places = {path: [hit.rank for hit in hits if hit.path == path] for path in {hit.path for hit in hits}}
    for year in (2023, 2024):
        assert min(places[f"{year}/policy.md"]) > min(places["2025/policy.md"])
    assert {hit.path for hit in without_superseded(hits)} == {"2025/policy.md", "travel.md"}
    off = cfg.retrieval.model_copy(update={"prefer_newest": False})
    assert all(hit.older == hit.newer == () for hit in search(index, ["How many days is annual leave?"], off))


def test_older_versions_keep_their_places_behind_the_newest_and_take_none_of_what_is_read(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    for year, days in ((2023, 20), (2024, 22), (2025, 25)):
        write(f"{year}/policy.md", policy(days))
    folder = write("travel.md", "# Travel\n\nAnnual budget is 900 euros, leave receipts at desk 4.").parent
    index, question = index_of(cfg, embedder, folder), "How many days is annual leave?"
    off = cfg.retrieval.model_copy(update={"prefer_newest": False})
    plain = [hit.chunk_id for hit in search(index, [question], off, k=50)]
    hits = search(index, [question], cfg.retrieval, k=50)
    newest = hits[0].chunk_id
    assert [h.chunk_id for h in hits] == [newest, *(i for i in plain if i != newest)]
    assert len(search(index, [question], cfg.retrieval, k=2)) == 2
    read = rank(index, retrieve(index, [Query(question)], cfg.retrieval), cfg.retrieval, k=2).hits
    assert len(without_superseded(read)) == 2
    assert {hit.path for hit in read} > {hit.path for hit in without_superseded(read)}


def test_by_time_where_paths_do_not_tell(cfg: Config, embedder: Embedder, write: Write) -> None:
    old = write("drafts/policy.md", policy(20))
    folder = write("policy.md", policy(25)).parent
    os.utime(old, (1_600_000_000, 1_600_000_000))
    index = index_of(cfg, embedder, folder)
    hits = search(index, ["How many days is annual leave?"], cfg.retrieval)
    assert {hit.path for hit in without_superseded(hits)} == {"policy.md"}
    assert hits[0].older == ("drafts/policy.md",)


def test_what_only_the_old_version_says_is_found_and_names_the_new_one(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    write("2024/policy.md", policy(25) + "\n\n## Sabbatical\n\nA sabbatical of eleven weeks is possible.")
    folder = write("2025/policy.md", policy(25)).parents[1]
    index = index_of(cfg, embedder, folder)
    hits = search(index, ["sabbatical"], cfg.retrieval, mode="lexical")
    assert [hit.path for hit in hits] == ["2024/policy.md"]
    assert hits[0].newer == ("2025/policy.md",)


def test_of_papers_of_one_form_the_one_that_is_asked_for_answers(cfg: Config, embedder: Embedder, write: Write) -> None:
    files = [
        write(f"invoices/{number}.md", f"# Invoice {number}\n\n{' '.join(FACTS)}\n\nTotal {number * 3} euros.")
        for number in range(2041, 2047)
    ]
    index = index_of(cfg, embedder, files[0].parents[1])
    for question in ("What is the total of invoice 2042?", "invoice 2044 total"):
        hits = without_superseded(search(index, [question], cfg.retrieval))
        assert hits[0].path == f"invoices/{question.split('invoice ')[1][:4]}.md"


def test_numbers_of_any_length_tell_versions_apart() -> None:
    def version(number: str) -> Version:
        return Version(1, f"v{number}/a.md", 0, b"")

    assert newer(version("1" + "0" * 5_000), version("9" * 5_000))
    assert not newer(version("9" * 5_000), version("1" + "0" * 5_000))
    assert not newer(version("007"), version("7"))


@pytest.mark.parametrize(
    ("question", "first"),
    [("How many days was annual leave in the 2023 policy?", ["2023/policy.md"]),
     ("2024年的年休假 annual leave 有几天？", ["2024/policy.md"]),
     ("Compare annual leave in 2023 and 2024", ["2023/policy.md", "2024/policy.md"]),
     ("How many days is annual leave in 2031?", ["2025/policy.md"])],
)  # fmt: skip
def test_a_version_that_is_named_answers_itself(
    cfg: Config, embedder: Embedder, write: Write, question: str, first: list[str]
) -> None:
    for year, days in ((2023, 20), (2024, 22), (2025, 25)):
        write(f"{year}/policy.md", policy(days))
    index = index_of(cfg, embedder, write("travel.md", "# Travel\n\nA trip is planned at desk 4.").parent)
    hits = search(index, [question], cfg.retrieval, k=50)
    read = without_superseded(hits)
    assert {hit.path for hit in read[: len(first)]} == set(first)
    assert {hit.path for hit in read} >= set(first)
    others = [hit.rank for hit in hits if hit.path != "travel.md" and hit.path not in first]
    last = min if "2031" in question else max  # what is named stands whole before the others
    assert min(others) > last(hit.rank for hit in hits if hit.path in first)


def test_only_what_looks_like_a_version_names_one() -> None:
    assert named_versions("Is room 4 free at 10:30 on 5 May, for 12.5 euros?") <= {"12.5"}
    assert named_versions("v2 or version 3, 第4版, 1.9.2, 1999") == {"2", "3", "4", "1.9.2", "1999"}
    assert not named_versions("20240 people, 192021")
