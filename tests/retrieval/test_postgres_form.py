"""Tables that an earlier version made in a PostgreSQL are brought to the form of this one."""

import uuid

import pytest

from core.errors import CatalogError
from core.types import Choice, Correction
from retrieval.postgres.server import FORM, STEPS, Server
from tests.retrieval.homes import Postgres, document, put
from tests.retrieval.pg import Cluster


def test_tables_of_form_2_get_those_that_are_new_and_keep_their_rows(cluster: Cluster) -> None:
    url = cluster.database(uuid.uuid4().hex)
    index = Postgres(url, exact_below=50).make("kb")
    put(index, document("a.md", {1: "one"}))
    server = Server(url)
    with server.borrowed() as db:
        for statement in ("DROP TABLE ragstone.choices", "DROP TABLE ragstone.left_out"):
            db.execute(statement.encode())
        db.execute("UPDATE ragstone.form SET number = 2")
    server.prepare()
    server.prepare()
    catalog = index.catalog
    assert [each.path for each in catalog.documents()] == ["a.md"]
    with catalog.transaction() as write:
        write.choose(catalog.folder_id("/docs"), "a.md", Choice(left_out=True))
    assert catalog.choices("/docs") == {"a.md": Choice(left_out=True)}
    with server.borrowed() as db:
        assert db.execute("SELECT number FROM ragstone.form").fetchall() == [(FORM,)]
        db.execute("UPDATE ragstone.form SET number = 99")
    with pytest.raises(CatalogError, match="have the form 99"):
        server.prepare()
    index.close()
    server.close()


def test_what_was_chosen_in_tables_of_form_3_stays(cluster: Cluster) -> None:
    url = cluster.database(uuid.uuid4().hex)
    index = Postgres(url, exact_below=50).make("kb")
    put(index, document("a.md", {1: "one"}))
    catalog, server = index.catalog, Server(url)
    with catalog.transaction() as write:
        write.choose(catalog.folder_id("/docs"), "a.md", Choice(ocr_pages=(3,)))
    with server.borrowed() as db:
        db.execute(b"ALTER TABLE ragstone.choices DROP tags, DROP date, DROP corrections")
        db.execute("UPDATE ragstone.form SET number = 3")
    server.prepare()
    assert catalog.choices("/docs") == {"a.md": Choice(ocr_pages=(3,))}
    with catalog.transaction() as write:
        write.choose(catalog.folder_id("/docs"), "a.md", Choice(tags=("x",), corrections=(Correction("", "a", "b"),)))
    assert catalog.choices("/docs") == {"a.md": Choice(tags=("x",), corrections=(Correction("", "a", "b"),))}
    index.close()
    server.close()


def test_there_is_a_step_to_each_form() -> None:
    assert list(STEPS) == list(range(min(STEPS), FORM))
