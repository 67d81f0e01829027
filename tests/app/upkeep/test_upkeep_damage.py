"""A backup of what is damaged would be found out when it is needed: it is refused."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.keeping.index import run
from app.upkeep.backup import backup
from app.upkeep.restore import backed_up, restore
from core.config import Config
from core.errors import CatalogError
from retrieval.embed import Embedder
from retrieval.index import Index

Write = Callable[[str, str], Path]


@pytest.fixture
def base(cfg: Config, embedder: Embedder, write: Write) -> Iterator[Index]:
    files = [write(f"{n}.txt", f"第{n}篇。" * 300) for n in range(20)]
    run(cfg, "kb", [files[0].parent])
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    yield index
    index.close()


def damaged(index: Index) -> bytes:
    """Its catalog with pages in the middle overwritten."""
    index.close()
    raw = bytearray(index.files.file.read_bytes())
    middle = len(raw) // 2 // 4096 * 4096
    raw[middle : middle + 16384] = b"\x55" * 16384
    return bytes(raw)


def test_a_damaged_catalog_is_not_backed_up_and_no_file_is_left(base: Index, tmp_path: Path) -> None:
    base.files.file.write_bytes(damaged(base))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CatalogError, match=r"g0001/catalog.sqlite' is damaged, so it was not backed up: ") as error:
        backup(base, tmp_path / "kb.tar")
    assert "ragstone index FOLDER --kb kb --rebuild" in error.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_chunks_that_do_not_fit_their_documents_are_not_backed_up(base: Index, tmp_path: Path) -> None:
    with base.files.transaction() as write:
        write.db.execute("UPDATE chunks SET text = text || '!' WHERE id = 1")
    with pytest.raises(CatalogError, match="not backed up: 1 chunks do not match their offsets") as error:
        backup(base, tmp_path / "kb.tar")
    assert "`ragstone verify --repair --kb kb`" in error.value.hint


@pytest.mark.parametrize("harm", ["inside", "header"])
def test_a_backup_whose_catalog_is_damaged_is_named_and_changes_nothing(base: Index, tmp_path: Path, harm: str) -> None:
    catalog = damaged(base) if harm == "inside" else b"no database" * 500
    entry = {"bytes": len(catalog), "sha256": hashlib.sha256(catalog).hexdigest()}
    manifest = {"form": 1, "kb": "kb", "made": "", "uploads": "", "files": {"catalog.sqlite": entry}}
    text = json.dumps(manifest).encode()
    members = {
        "catalog.sqlite": catalog, "manifest.json": text, "manifest.sha256": hashlib.sha256(text).hexdigest().encode()
    }  # fmt: skip
    with tarfile.open(tmp_path / "kb.tar", "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert backed_up(tmp_path / "kb.tar") == "kb"
    with pytest.raises(CatalogError, match=r"^the catalog in '[^']*kb\.tar' cannot be used: SQLite: ") as error:
        restore(tmp_path / "other", "kb", tmp_path / "kb.tar")
    assert ".restore-" not in str(error.value)
    assert not (tmp_path / "other").exists()
