"""The one writer's place of a knowledge base in PostgreSQL: an advisory lock that dies with its holder."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import BusyError
from retrieval.postgres.server import Server, told

_LOCK = 0x7261_6774  # the class of the advisory locks of writers
_WAIT_MS = 2_000
_NAME = re.compile(r"ragstone, process (\d+) on (.*)", re.DOTALL)


@contextmanager
def alone(server: Server, kb: int, name: str) -> Iterator[None]:
    """Hold the one writer's place. Raises `BusyError` naming the holder where it is taken.

    The server frees it when the connection ends, as it does with its process. Within the block the same thread may take
    it once more.
    """
    import psycopg

    if kb in server.held:
        yield
        return
    with told():
        db = server.connect()
    try:
        with told():
            db.execute(f"SET lock_timeout = {_WAIT_MS:d}".encode())
            try:
                db.execute("SELECT pg_advisory_lock(%s, %s)", [_LOCK, kb])
            except psycopg.errors.LockNotAvailable:
                raise BusyError(
                    f"knowledge base {name!r} is being written by {_holder(server, kb)}",
                    "wait for it to end, then run it again",
                ) from None
        server.held.add(kb)
        try:
            yield
        finally:
            server.held.discard(kb)
    finally:
        db.close()


def _holder(server: Server, kb: int) -> str:
    with server.borrowed() as db:
        rows = db.execute(
            """SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS') FROM pg_locks l
               JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid = %s::oid AND objid = %s::oid""",
            [_LOCK, kb],
        ).fetchall()
    told_by = _NAME.fullmatch(rows[0][0]) if rows else None
    return f"process {told_by[1]} on {told_by[2]} since {rows[0][1]}" if told_by else "another process"
