from pathlib import Path

import pytest

from core.errors import ReadError
from core.sources import address, in_bucket, in_web, mirror, mirrored, named, place


@pytest.mark.parametrize("text", ["s3://papers", "s3://papers/2026/讲义", "s3://a-b.c_d/x y/#?%20"])
def test_an_address_has_one_form(text: str) -> None:
    assert address(text) == address(text + "/") == address(text + "//") == named(text) == text
    assert in_bucket(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://", "s3:///x", "s3://a", "s3://../x", "s3://papers/../x", "s3://papers/./x", "s3://papers//x",
        "s3://papers/a\nb", "s3://papers/a\0b", "s3://-papers/x", "s3://papers:9000/x", "s3://pa pers/x",
        "s3://" + "x" * 300,
    ],
)  # fmt: skip
def test_what_names_no_bucket_or_no_folder_is_refused(text: str) -> None:
    with pytest.raises(ReadError):
        address(text)


def test_a_key_that_somebody_put_into_an_address_is_not_repeated() -> None:
    with pytest.raises(ReadError, match="the environment") as error:
        address("s3://AKIAEXAMPLE:hidden-word@papers/x")
    assert "hidden" not in str(error.value)
    assert "AKIA" not in str(error.value)


def test_each_address_has_a_mirror_of_its_own_below_the_knowledge_base(tmp_path: Path) -> None:
    sources = ["s3://papers", "s3://papers/a", "s3://papers/A", "s3://papers/\u00e9", "s3://papers/e\u0301"]
    places = {place(tmp_path, source) for source in sources}
    assert len(places) == len(sources)
    assert all(each.is_relative_to(tmp_path / "s3") for each in places)
    assert {each.parent for each in places} == {mirror(tmp_path, source) for source in sources}
    assert place(tmp_path, "/some/folder") == place(tmp_path, Path("/some/folder")) == Path("/some/folder")


def test_a_folder_is_known_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named("docs") == named(Path("docs")) == str(tmp_path.resolve() / "docs")
    assert not in_bucket("S3://papers")
    assert not in_bucket(Path("s3:/papers"))


def test_a_page_of_the_web_is_known_by_one_form_and_mirrored_apart_from_buckets(tmp_path: Path) -> None:
    page = named("HTTPS://Example.org/a b#top")
    assert page == named(page) == "https://example.org/a%20b"
    assert in_web(page)
    assert mirrored(page)
    assert not in_bucket(page)
    assert place(tmp_path, page).is_relative_to(tmp_path / "web")
    assert not any(map(mirrored, ["/https://x", "ftp://x/a", "file:///a", "javascript:https://x", str(tmp_path)]))
    with pytest.raises(ReadError, match="a password"):
        named("https://me:hidden@example.org/")
