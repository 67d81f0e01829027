"""A backup is used only where all that is in it is what a backup of ours holds."""

import hashlib
import io
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.keeping.index import run
from app.running.bases import Bases
from app.upkeep.backup import backup
from app.upkeep.restore import backed_up, restore
from core.config import Config, load
from core.errors import CatalogError, RagstoneError
from retrieval.embed import Embedder
from retrieval.home import identity, names, rollback
from retrieval.index import Index
from retrieval.search import search
from retrieval.transaction import SCHEMA_VERSION
from tests import data_of_0_1

TO_FORM_3 = "DROP TABLE choices; DROP TABLE left_out; PRAGMA user_version = 3"  # as an older version made it

Write = Callable[[str, str], Path]


@pytest.fixture
def source(cfg: Config, embedder: Embedder, write: Write, tmp_path: Path) -> Path:
    """A backup of a knowledge base of a folder and an upload."""
    folder = write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent
    run(cfg, "kb", [folder])
    upload = tmp_path / "parking.md"
    upload.write_text("# Parking\n\nThe garage opens at 06:30.", encoding="utf-8")
    Bases(cfg).upload("kb", [upload])
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    (index.home / "dictionary.txt").write_text("leave = 年假\n", encoding="utf-8")
    backup(index, tmp_path / "kb.tar")
    index.close()
    return tmp_path / "kb.tar"


def members(source: Path) -> dict[str, bytes]:
    with tarfile.open(source) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def sealed(target: Path, files: Mapping[str, bytes], **more: object) -> Path:
    """A backup of these files whose checksums are right."""
    listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = json.dumps({"form": 1, "kb": "kb", "made": "", "uploads": "", "files": listed} | more).encode()
    seal = hashlib.sha256(manifest).hexdigest().encode()
    with tarfile.open(target, "w") as archive:
        for name, data in {**files, "manifest.json": manifest, "manifest.sha256": seal}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


def forged(source: Path, change: str, tmp_path: Path) -> Path:
    """The backup with SQL run on its catalog, sealed again."""
    files = members(source)
    uploads = json.loads(files["manifest.json"])["uploads"]
    file = tmp_path / "forged.sqlite"
    file.write_bytes(files["catalog.sqlite"])
    with closing(sqlite3.connect(file)) as db:
        db.executescript(change)
        db.execute("PRAGMA journal_mode = DELETE")
    del files["manifest.json"], files["manifest.sha256"]
    return sealed(tmp_path / "forged.tar", files | {"catalog.sqlite": file.read_bytes()}, uploads=uploads)


def state(folder: Path) -> dict[str, bytes]:
    """Every file but those of the lock."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("writer."))
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


@pytest.fixture
def refused(cfg: Config, tmp_path: Path) -> Callable[[Path], RagstoneError]:
    """The error a backup is refused with; neither a data folder that is there nor a new one has changed."""
    data = Path(cfg.app.data)

    def refuse(source: Path) -> RagstoneError:
        before = state(data)
        with pytest.raises(CatalogError) as error:
            restore(data, "kb", source, replace=True)
        assert state(data) == before
        with pytest.raises(CatalogError):
            restore(tmp_path / "fresh", "kb", source)
        assert not (tmp_path / "fresh").exists()
        assert ".restore-" not in str(error.value)
        assert error.value.hint
        return error.value

    return refuse


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN SELECT 1; END", "trigger 't'"),
        ("CREATE VIEW v AS SELECT 1", "view 'v'"),
        ("CREATE VIRTUAL TABLE f USING fts5(x)", "table 'f"),
        ("CREATE TABLE more(x)", "table 'more'"),
        ("CREATE INDEX more ON documents(title)", "index 'more'"),
        ("DROP INDEX chunks_by_key", "index 'chunks_by_key'"),
        ("ALTER TABLE meta ADD COLUMN twice TEXT AS (value || value)", "table 'meta'"),
        ("ALTER TABLE meta ADD COLUMN more TEXT", "table 'meta'"),
        ("DROP TABLE bands; CREATE TABLE bands(band INTEGER, document_id INTEGER)", "bands"),
        ("DROP INDEX bands_by_document; CREATE INDEX bands_by_document ON bands(abs(document_id))", "bands_by_docu"),
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "it was written by a newer version"),
        ("PRAGMA user_version = 1", "is not of a version of ragstone that"),
        (f"CREATE TRIGGER t AFTER DELETE ON meta BEGIN SELECT 1; END; {TO_FORM_3}", "trigger 't'"),
        (f"CREATE TABLE more(x); {TO_FORM_3}", "its tables are not what they should have become"),
        ("UPDATE documents SET path = '../../outside.md'", "2 paths do not lie in their folder"),
        ("UPDATE documents SET path = '/outside.md'", "paths do not lie in their folder"),
        ("UPDATE documents SET path = 'a/../../outside.md'", "paths do not lie in their folder"),
        ("INSERT INTO choices VALUES (1, '../out.md', 1, '[]', NULL, NULL, '[]')", "paths do not lie in their folder"),
        ("INSERT INTO choices VALUES (1, 'a.pdf', 0, '[\"x\"]', NULL, NULL, '[]')", "pages are no numbers"),
        ("INSERT INTO choices VALUES (1, 'a.pdf', 0, '[]', '[1]', NULL, '[]')", "tags are no texts"),
        ("INSERT INTO choices VALUES (1, 'a.pdf', 0, '[]', '{}', NULL, '[]')", "values of tags are no lists"),
        ("INSERT INTO choices VALUES (1, 'a.pdf', 0, '[]', NULL, '2025-3', '[]')", "dates are none"),
        ("INSERT INTO choices VALUES (1, 'a.pdf', 0, '[]', NULL, NULL, '[[\"a\", 1, \"b\"]]')", "corrections are none"),
        ("INSERT INTO left_out VALUES (1, '/out.md', '', '')", "paths do not lie in their folder"),
        ("UPDATE folders SET path = 'relative' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE folders SET path = 'S3://bucket/x' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE folders SET path = 's3://bucket/../x' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE folders SET path = 'HTTPS://example.org/' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE folders SET path = 'https://u:p@example.org/' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE folders SET path = 'https://example.org/\"><b>' WHERE id = 1", "folders have no absolute path"),
        ("UPDATE chunks SET text = CAST(text AS BLOB)", "values of text are of another kind"),
        ("UPDATE chunks SET headings = '{'", "values of headings are no lists"),
        ("UPDATE embeddings SET vector = x'00'", "vectors have another length"),
        ("UPDATE meta SET value = 'x' WHERE key = 'generation'", "numbers are none"),
        ("""UPDATE meta SET value = '{"device": "cuda"}' WHERE key = 'embedder_settings'""", "settings of the embed"),
        ("UPDATE meta SET value = '[' WHERE key = 'embedder_settings'", "settings of the embedder"),
        ("UPDATE chunks SET text = text || '!'", "chunks do not match their offsets"),
    ],
)
def test_a_catalog_that_defines_or_holds_anything_else_is_refused(
    change: str, words: str, source: Path, tmp_path: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    error = refused(forged(source, change, tmp_path))
    assert error.message.startswith(f"the catalog in '{tmp_path / 'forged.tar'}' cannot be used: ")
    assert words in error.message


def test_the_same_without_a_change_is_restored(source: Path, tmp_path: Path, embedder: Embedder) -> None:
    restore(tmp_path / "other", "kb", forged(source, "SELECT 1", tmp_path))
    assert Index.open(tmp_path / "other", "kb", embedder).verify() == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tuning.json", '{"dense_weight": {"en": "much"}}', "'tuning.json' cannot be used: "),
        ("tuning.json", "[" * 100_000, "'tuning.json' cannot be used: "),
        ("dictionary.txt", "leave = = 年假", "dictionary.txt:1: 'leave = = 年假' has an empty word"),
        ("prompt.json", '{"history": [{"choice": 1}]}', "'prompt.json' cannot be used: not a history of promotions"),
        ("prompt.json", '{"history": ' + "[" * 100_000, "'prompt.json' cannot be used: "),
        ("golden.jsonl", '{"id": "1"}', "golden.jsonl:1: question: Field required"),
    ],
)
def test_what_people_wrote_is_read_before_it_is_used(
    name: str, text: str, words: str, source: Path, tmp_path: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    files = members(source)
    uploads = json.loads(files.pop("manifest.json"))["uploads"]
    del files["manifest.sha256"]
    wrong = sealed(tmp_path / "wrong.tar", files | {name: text.encode()}, uploads=uploads)
    error = refused(wrong)
    assert error.message.startswith(f"what lies beside the catalog in '{wrong}' cannot be used: ")
    assert words in error.message
    lines = sealed(tmp_path / "lines.tar", files | {"unanswered.jsonl": b"no line of ours\n"}, uploads=uploads)
    restore(tmp_path / "other", "kb", lines)  # of a list of questions a line that is none is passed over


def test_a_member_that_is_missing_or_there_twice_or_unknown_to_the_manifest_is_named(
    source: Path, tmp_path: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    files = members(source)
    wrong = tmp_path / "wrong.tar"

    def written(*names: str) -> Path:
        with tarfile.open(wrong, "w") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(files[name])
                archive.addfile(member, io.BytesIO(files[name]))
        return wrong

    assert "it lacks 'files/parking.md'" in refused(written(*(n for n in files if n != "files/parking.md"))).message
    assert "it lacks 'catalog.sqlite'" in refused(written(*(n for n in files if n != "catalog.sqlite"))).message
    assert "has no manifest" in refused(written(*(n for n in files if n != "manifest.json"))).message
    assert "it holds 'files/parking.md' twice" in refused(written(*files, "files/parking.md")).message
    files["files/more.md"] = b"x"
    assert "holds 'files/more.md', which its manifest does not know" in refused(written(*files)).message


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_refused(kind: bytes, source: Path, refused: Callable[[Path], RagstoneError]) -> None:
    member = tarfile.TarInfo("files/more.md")
    member.type, member.linkname = kind, "catalog.sqlite"
    with tarfile.open(source, "a") as archive:
        archive.addfile(member)
    assert "holds 'files/more.md'" in refused(source).message


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_member_that_claims_to_be_larger_than_it_is_is_refused_before_it_is_read(
    kind: bytes, source: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    member = tarfile.TarInfo("files/large.md")
    member.type, member.size = kind, 1 << 40
    source.write_bytes(source.read_bytes().rstrip(b"\0").ljust(1 << 16, b"\0")[: 1 << 16])
    with tarfile.open(source, "w") as archive:
        archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
    message = refused(source).message
    assert "reach beyond the end" in message or "a header of" in message


def with_manifest(target: Path, manifest: str) -> Path:
    """A backup that holds its manifest alone."""
    with tarfile.open(target, "w") as archive:
        seal = hashlib.sha256(manifest.encode()).hexdigest()
        for name, text in {"manifest.json": manifest, "manifest.sha256": seal}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return target


def test_a_manifest_that_is_nested_without_end_is_damaged(
    tmp_path: Path, source: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    assert "is damaged" in refused(with_manifest(tmp_path / "deep.tar", "[" * 100_000)).message


@pytest.mark.parametrize(
    "manifest", ["[]", "{}", '{"form": 1}', '{"form": "1", "kb": "x", "made": "", "uploads": "", "files": {}}']
)
def test_a_manifest_of_another_form_is_refused(
    manifest: str, tmp_path: Path, source: Path, refused: Callable[[Path], RagstoneError]
) -> None:
    target = with_manifest(tmp_path / "wrong.tar", manifest)
    assert "its manifest has another form" in refused(target).message
    with pytest.raises(CatalogError, match="its manifest has another form"):
        backed_up(target)


def test_a_backup_of_a_later_form_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="newer version of ragstone"):
        restore(tmp_path / "other", "kb", sealed(tmp_path / "later.tar", {}, form=2))


def test_a_backup_of_0_1_is_migrated(tmp_path: Path) -> None:
    data = data_of_0_1.unpack(tmp_path / "old")
    catalog = (data / "handbook" / "g0001" / "catalog.sqlite").read_bytes()
    source = sealed(tmp_path / "old.tar", {"catalog.sqlite": catalog})
    restore(tmp_path / "new", "handbook", source, maps=[f"{data_of_0_1.FOLDER}={data_of_0_1.DOCUMENTS}"])
    cfg = load(flags={"app.data": str(tmp_path / "new")}, environ={}).config
    index = Index.open(tmp_path / "new", "handbook", Embedder(cfg.retrieval))
    assert search(index, ["parental leave"], cfg.retrieval)[0].path == "hr/leave.md"
    assert index.verify() == []
    assert run(cfg, "handbook").failed[0].path == "broken.pdf"


# Folders


def test_a_folder_that_is_not_here_or_is_another_is_not_followed_unless_it_is_said_where_it_lies(
    source: Path, cfg: Config, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"
    moved = tmp_path / "moved = here"
    shutil.copytree(docs, moved)
    shutil.rmtree(docs)
    for _ in range(2):
        with pytest.raises(CatalogError, match=f"not here, or hold none of its documents: '{docs}'") as error:
            restore(other, "kb", source)
        assert f"--map {docs}=/its/folder/here" in error.value.hint
        assert names(other) == []
        docs.mkdir(exist_ok=True)  # then it is there
        (docs / "somebody-elses.md").write_text("Not ours.", encoding="utf-8")
    _, followed = restore(other, "kb", source, maps=[f"{docs}={moved}"])
    assert followed == [str(moved)]
    report = run(load(flags={"app.data": str(other)}, environ={}).config, "kb")
    assert (report.unchanged, report.added, report.deleted, report.failed) == (2, 0, 0, [])
    _, followed = restore(other, "same", source, maps=[f"{docs}={docs}"])
    assert followed == [str(docs)]


def test_a_folder_is_followed_where_a_document_lies_as_it_was_and_not_for_its_name(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    docs, empty, other = tmp_path / "docs", tmp_path / "empty", tmp_path / "other"
    for folder in (docs, empty):
        folder.mkdir()
    (docs / "a.txt").write_text("Ours.", encoding="utf-8")
    run(cfg, "two", [docs, empty])
    backup(Index.open(Path(cfg.app.data), "two", embedder), tmp_path / "two.tar")
    with pytest.raises(CatalogError, match=f"hold none of its documents: '{empty}'"):
        restore(other, "two", tmp_path / "two.tar")
    _, followed = restore(other, "two", tmp_path / "two.tar", maps=[f"{empty}={empty}"])
    assert followed == [str(docs), str(empty)]
    (docs / "a.txt").write_text("Theirs", encoding="utf-8")
    with pytest.raises(CatalogError, match=f"hold none of its documents: '{docs}'"):
        restore(other, "again", tmp_path / "two.tar", maps=[f"{empty}={empty}"])


def test_a_map_that_cannot_be_meant_is_one_message(source: Path, tmp_path: Path) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"
    for text, words in {
        "nonsense": "names no folder of the backup",
        f"{tmp_path}={docs}": "names no folder of the backup",
        f"{docs}={tmp_path / 'absent'}": "does not exist",
        f"{docs}={tmp_path / 'kb.tar'}": "is a file",
        f"{docs}={tmp_path / 'other'}": "lies in the data folder",
    }.items():
        other.mkdir(exist_ok=True)
        with pytest.raises(RagstoneError, match=words):
            restore(other, "kb", source, maps=[text])
        assert names(other) == []


def test_two_folders_may_change_places_and_may_not_become_one(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / f"{folder.name}.txt").write_text(f"From {folder.name}.", encoding="utf-8")
    run(cfg, "two", folders)
    index = Index.open(Path(cfg.app.data), "two", embedder)
    backup(index, tmp_path / "two.tar")
    a, b = folders
    with pytest.raises(CatalogError, match="would be followed twice"):
        restore(tmp_path / "other", "two", tmp_path / "two.tar", maps=[f"{a}={b}"])
    restore(tmp_path / "other", "two", tmp_path / "two.tar", maps=[f"{a}={b}", f"{b}={a}"])
    assert Index.open(tmp_path / "other", "two", embedder).catalog.folders() == [str(b), str(a)]


def test_the_command_takes_maps_and_says_what_is_followed(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (tmp_path / "docs").rename(moved)
    line = ["restore", str(source), "--map", f"{tmp_path / 'docs'}={moved}"]
    done = CliRunner().invoke(app, line, env={"RAGSTONE_DATA": str(tmp_path / "other"), "COLUMNS": "300"})
    assert names(tmp_path / "other") == ["kb"], done.output
    assert f"it follows {moved}\n" in done.output


def test_what_nothing_here_follows_yet_is_followed_only_where_somebody_says_so(
    source: Path, cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"

    def restored(*more: str, data: Path = other, typed: str = "") -> Result:
        env = {"RAGSTONE_DATA": str(data), "COLUMNS": "300"}
        return CliRunner().invoke(app, ["restore", str(source), *more], env=env, input=typed)

    refused = restored(typed="y\n")  # nobody sits there: what comes is no answer
    assert isinstance(refused.exception, CatalogError)
    assert f"follows '{docs}', which no knowledge base here follows" in refused.exception.message
    assert refused.exception.hint.startswith(f"`--map {docs}={docs}` follows it")
    assert names(other) == []
    here = restored("--kb", "again", data=Path(cfg.app.data))  # which kb follows already
    assert f"it follows {docs}" in here.output
    monkeypatch.setattr("app.commands.manage.typed", lambda: True)
    assert isinstance(restored(typed="\n").exception, CatalogError)
    assert names(other) == []
    said = restored(typed="y\n").output
    assert f"The backup follows '{docs}', which nothing here does. Follow it?" in said
    assert names(other) == ["kb"]


def test_a_page_of_the_web_in_a_backup_is_asked_about_too(source: Path, tmp_path: Path) -> None:
    forged_ = forged(source, "UPDATE folders SET path = 'https://example.org/' WHERE path LIKE '%docs'", tmp_path)
    asked: list[str] = []
    with pytest.raises(CatalogError, match=r"follows 'https://example.org/', which no"):
        restore(tmp_path / "other", "kb", forged_, new=lambda folder: bool(asked.append(folder)))
    assert asked == ["https://example.org/"]
    assert names(tmp_path / "other") == []


# What fails in the middle


def test_what_fails_in_the_middle_is_taken_back(
    source: Path, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(cfg.app.data)
    (data / "kb" / "files" / "parking.md").write_text("Changed since.", encoding="utf-8")
    (data / "kb" / "dictionary.txt").unlink()
    before = state(data)
    replace = Path.replace
    for n in range(5):  # catalog, the upload that is there aside, the upload, the dictionary, CURRENT
        calls = count()

        def fail_once(self: Path, target: Path, calls: Iterator[int] = calls, n: int = n) -> Path:
            if next(calls) == n:
                raise OSError(5, "Input/output error")
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail_once)
            with pytest.raises(CatalogError, match="Input/output error"):
                restore(data, "kb", source, replace=True)
        assert state(data) == before, n
    restore(data, "kb", source, replace=True)
    assert (data / "kb" / "dictionary.txt").exists()


def test_what_is_restored_under_its_own_name_is_what_it_was_and_anything_else_is_new(
    cfg: Config, source: Path, tmp_path: Path
) -> None:
    data = Path(cfg.app.data)
    known = identity(data / "kb")
    restore(data, "copy", source)
    assert identity(data / "copy") not in ("", known)
    restore(data, "kb", source, replace=True)
    assert identity(data / "kb") == known
    shutil.move(data / "kb", tmp_path / "lost")
    restore(data, "kb", source)
    assert identity(data / "kb") == known

    files = members(source)
    uploads = json.loads(files.pop("manifest.json"))["uploads"]
    del files["manifest.sha256"]
    for number, (forged_id, name) in enumerate([(identity(data / "copy"), "kb"), (known, "other"), ("../x", "kb")]):
        other = sealed(tmp_path / f"{number}.tar", files, uploads=uploads, kb=name, id=forged_id)
        restore(data, "kb", other, replace=True)
        assert identity(data / "kb") not in ("", known, forged_id)
        rollback(data / "kb")
        assert identity(data / "kb") == known
