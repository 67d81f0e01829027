"""The generations of a knowledge base in PostgreSQL: which answers, which is built beside it, which are kept.

As retrieval/home.py for files: a row of `names` says which answers, and changes in one statement.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import CatalogError
from retrieval.postgres.server import TABLES, Server

if TYPE_CHECKING:
    from psycopg import Connection

_START = {
    "generation": "0", "documents": "0", "chunks": "0", "blind_chunks": "0", "languages": "{}", "length": "0",
}  # fmt: skip
PARTED = ("chunks", "words", "vectors")  # tables of which each generation has a part
_SILENT = {
    "chunks": ("headings", "text", "key"),
    "words": ("terms",),
    "vectors": ("vector",),
}  # columns without statistics
_PAGE = 8160  # bytes that a row may have before something of it is kept apart
_PARTED = re.compile(rf"ragstone\.({'|'.join(PARTED)})\b")
_WAIT = "5s"  # for those who read a generation that is to go; it goes another time


def parts(sql: str, base: int) -> str:
    """A statement that names the parts of a generation, instead of tables of which each has one.

    Nothing else reads or writes the tables themselves, so that one generation may come or go while others are read.
    """
    return _PARTED.sub(rf"ragstone.\1_{base:d}", sql)


def names(server: Server) -> list[str]:
    """The knowledge bases in a database."""
    with server.borrowed() as db:
        rows = db.execute("SELECT name FROM ragstone.names WHERE base IS NOT NULL ORDER BY name").fetchall()
    return [name for (name,) in rows]


def identity(server: Server, name: str) -> str:
    """The id of a knowledge base, which is never given twice; "" where there is none."""
    with server.borrowed() as db:
        sql = "SELECT identity FROM ragstone.names WHERE name = %s AND base IS NOT NULL"
        return next((found for (found,) in db.execute(sql, [name]).fetchall()), "")


def answering(server: Server, name: str) -> tuple[int, int] | None:
    """(id of a knowledge base, its generation that answers); None where there is none."""
    with server.borrowed() as db:
        sql = "SELECT id, base FROM ragstone.names WHERE name = %s AND base IS NOT NULL"
        return next(iter(db.execute(sql, [name]).fetchall()), None)


def made(server: Server, name: str, manifest: Mapping[str, str]) -> tuple[int, int]:
    """(id of a knowledge base, its generation that answers); made, empty, where there is none."""
    with server.borrowed() as db, db.transaction():
        own = _named(db, name)
        ((base,),) = db.execute("SELECT base FROM ragstone.names WHERE id = %s FOR UPDATE", [own]).fetchall()
        if base is None:
            base = _create(db, own, manifest)
            db.execute("UPDATE ragstone.names SET base = %s WHERE id = %s", [base, own])
    return own, base


def beside(server: Server, name: str, manifest: Mapping[str, str]) -> tuple[int, int]:
    """(id of a knowledge base, the generation that is built beside the one that answers).

    One that was begun with the same manifest is gone on with.
    """
    sweep(server)
    with server.borrowed() as db, db.transaction():
        own = _named(db, name)
        later = db.execute(
            """SELECT b.id FROM ragstone.bases b JOIN ragstone.names n ON n.id = b.of WHERE n.id = %s
               AND b.number > coalesce((SELECT number FROM ragstone.bases WHERE id = n.base), 0)""",
            [own],
        ).fetchall()
        for (base,) in later:
            known = dict(db.execute("SELECT key, value FROM ragstone.meta WHERE base = %s", [base]).fetchall())
            if manifest.items() <= known.items():
                return own, base
            db.execute("UPDATE ragstone.bases SET of = NULL WHERE id = %s", [base])
        return own, _create(db, own, manifest)


def promote(server: Server, own: int, base: int, keep: int) -> None:
    """Let a generation answer from now on; of those before it, the last `keep` stay."""
    sweep(server)
    with server.borrowed() as db, db.transaction():
        db.execute("UPDATE ragstone.names SET base = %s WHERE id = %s", [base, own])
        let_go(server, own, keep)


def kept(server: Server, own: int) -> list[tuple[int, int]]:
    """(generation, its number) of all that are there, oldest first."""
    with server.borrowed() as db:
        sql = "SELECT id, number FROM ragstone.bases WHERE of = %s ORDER BY number"
        return db.execute(sql, [own]).fetchall()


def let_go(server: Server, own: int, keep: int) -> list[str]:
    """Have the generations that do not answer but the `keep` before the one that does belong to nobody; their names.

    Somebody may read one just now, so that `sweep` removes them with the next step.
    """
    with server.borrowed() as db:
        ((now,),) = db.execute("SELECT base FROM ragstone.names WHERE id = %s", [own]).fetchall()
        every = kept(server, own)
        number = next((n for base, n in every if base == now), 0)
        before = [base for base, n in every if n < number]
        stay = {now, *before[max(len(before) - keep, 0) :]}
        db.execute("UPDATE ragstone.bases SET of = NULL WHERE of = %s AND NOT id = ANY(%s)", [own, list(stay)])
    return [generation(n) for base, n in every if base not in stay]


def sweep(server: Server) -> None:
    """Remove the generations that belong to nobody; one that is read for long stays until another time."""
    import psycopg

    with server.borrowed() as db:
        for (base,) in db.execute("SELECT id FROM ragstone.bases WHERE of IS NULL").fetchall():
            try:
                with db.transaction():
                    drop(db, base)
            except psycopg.errors.LockNotAvailable:
                continue


def rollback(server: Server, own: int, name: str) -> tuple[str, str]:
    """Let the generation before the present one answer again; the present one is let go. Returns both names.

    Only the one writer may call this. Raises `CatalogError` where none was kept.
    """
    sweep(server)
    with server.borrowed() as db, db.transaction():
        ((now,),) = db.execute("SELECT base FROM ragstone.names WHERE id = %s", [own]).fetchall()
        every = kept(server, own)
        number = next(n for base, n in every if base == now)
        before = [(base, n) for base, n in every if n < number]
        if not before:
            raise CatalogError(
                f"knowledge base {name!r} has no earlier generation",
                "a --rebuild keeps app.keep_generations of them; restore a backup",
            )
        base, earlier = before[-1]
        db.execute("UPDATE ragstone.names SET base = %s WHERE id = %s", [base, own])
        db.execute("UPDATE ragstone.bases SET of = NULL WHERE id = %s", [now])
    return generation(earlier), generation(number)


def generation(number: int) -> str:
    """How a generation is called, as its folder would be."""
    return f"g{number:04d}"


def drop(db: "Connection[Any]", base: int) -> None:
    """A generation and all that is in it goes; who reads it just now is waited for a while."""
    db.execute(f"SET LOCAL lock_timeout = '{_WAIT}'".encode())
    for table in PARTED:
        db.execute(f"DROP TABLE IF EXISTS ragstone.{table}_{base:d}".encode())
    for table in TABLES:
        if table not in PARTED:
            db.execute(f"DELETE FROM ragstone.{table} WHERE base = %s".encode(), [base])
    db.execute("DELETE FROM ragstone.bases WHERE id = %s", [base])


def _named(db: "Connection[Any]", name: str) -> int:
    db.execute("INSERT INTO ragstone.names(name) VALUES (%s) ON CONFLICT DO NOTHING", [name])
    return db.execute("SELECT id FROM ragstone.names WHERE name = %s", [name]).fetchall()[0][0]


def _create(db: "Connection[Any]", own: int, manifest: Mapping[str, str]) -> int:
    sql = """INSERT INTO ragstone.bases(of, number)
             SELECT %s, coalesce(max(number), 0) + 1 FROM ragstone.bases WHERE of = %s RETURNING id"""
    base: int = db.execute(sql, [own, own]).fetchall()[0][0]
    for table in PARTED:
        storage = f" WITH (toast_tuple_target = {_PAGE})" if table != "chunks" else ""
        part = f"CREATE TABLE ragstone.{table}_{base:d} PARTITION OF ragstone.{table} FOR VALUES IN ({base:d}){storage}"
        db.execute(part.encode())
        silent = ", ".join(f"ALTER {column} SET STATISTICS 0" for column in _SILENT[table])
        db.execute(f"ALTER TABLE ragstone.{table}_{base:d} {silent}".encode())
    with db.cursor() as cursor:
        rows = [(base, key, value) for key, value in (_START | dict(manifest)).items()]
        cursor.executemany("INSERT INTO ragstone.meta VALUES (%s, %s, %s)", rows)
    return base
