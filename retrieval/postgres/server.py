"""Connections to a PostgreSQL server, its tables, and what it says where it cannot be used, in words."""

import os
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.errors import AwayError, CatalogError, ConfigError

if TYPE_CHECKING:
    from psycopg import Connection

FORM = 4  # of the tables; a change is a new number, and a step in STEPS
_KEPT = 4  # connections that stay open while nobody uses them
_CONNECT_S = 5
# One set of tables for all knowledge bases of an installation. `names` says which generation of a knowledge base
# answers, in one row; a generation (`base`) that is of none is to go. Each has parts of `chunks`, `words` and `vectors`
# of its own, with their own indexes. `chunks` is what is shown, `words` and `vectors` what searches read, each alone,
# so that little is read, and whole in its rows: what lies apart is slow. `terms` are our tokens as lexemes, as often as
# the chunk holds them (retrieval/postgres/writes.py); `lexemes` says how many chunks hold a token. What documents say
# is in no statistics of the planner, which only a superuser could write anew.
_CHOICES = """
CREATE TABLE ragstone.choices(
    base integer NOT NULL, folder_id bigint NOT NULL, path text COLLATE "C" NOT NULL, left_out integer NOT NULL,
    ocr_pages text NOT NULL, tags text, date text COLLATE "C", corrections text NOT NULL DEFAULT '[]',
    PRIMARY KEY(folder_id, path));
CREATE TABLE ragstone.left_out(
    base integer NOT NULL, folder_id bigint NOT NULL, path text COLLATE "C" NOT NULL, error text NOT NULL,
    hint text NOT NULL, PRIMARY KEY(folder_id, path));
"""
_NO_STATISTICS = """
DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT attrelid::regclass AS of, attname AS name FROM pg_attribute WHERE attnum > 0 AND attrelid IN
        (SELECT oid FROM pg_class WHERE relnamespace = 'ragstone'::regnamespace AND relkind IN ('r', 'p'))
        AND atttypid IN ('text'::regtype, 'bytea'::regtype, 'tsvector'::regtype, 'halfvec'::regtype)
    LOOP EXECUTE format('ALTER TABLE %s ALTER %I SET STATISTICS 0', c.of, c.name); END LOOP;
END $$;
"""
SCHEMA = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA ragstone;
CREATE TABLE ragstone.form(number integer NOT NULL);
INSERT INTO ragstone.form VALUES ({FORM});
CREATE SEQUENCE ragstone.chunk_ids;
CREATE TABLE ragstone.names(
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE, base integer,
    identity text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''));
CREATE TABLE ragstone.bases(
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, of integer REFERENCES ragstone.names,
    number integer NOT NULL, UNIQUE(of, number));
CREATE TABLE ragstone.meta(
    base integer NOT NULL, key text COLLATE "C" NOT NULL, value text NOT NULL, PRIMARY KEY(base, key));
CREATE TABLE ragstone.folders(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, base integer NOT NULL, path text COLLATE "C" NOT NULL,
    UNIQUE(base, path));
CREATE TABLE ragstone.documents(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, base integer NOT NULL, folder_id bigint NOT NULL,
    path text COLLATE "C" NOT NULL, size bigint NOT NULL,
    mtime_ns bigint NOT NULL, ctime_ns bigint NOT NULL, hash text NOT NULL, checked_ns bigint NOT NULL,
    title text NOT NULL, language text NOT NULL, pages integer, empty_pages text NOT NULL, ocr_pages text NOT NULL,
    tables integer NOT NULL, characters bigint NOT NULL, chunks integer NOT NULL, encoding text, notes text NOT NULL,
    seconds double precision NOT NULL, sketch bytea NOT NULL, tags text NOT NULL, date text COLLATE "C" NOT NULL,
    day text COLLATE "C" NOT NULL, stale text NOT NULL DEFAULT '', reader text NOT NULL,
    indexed_at double precision NOT NULL, UNIQUE(base, folder_id, path));
CREATE INDEX ON ragstone.documents(base, path);
CREATE TABLE ragstone.chunks(
    base integer NOT NULL, id bigint NOT NULL, document_id bigint NOT NULL, ordinal integer NOT NULL,
    start bigint NOT NULL, "end" bigint NOT NULL, page integer, headings text NOT NULL,
    language text COLLATE "C" NOT NULL, tokens integer NOT NULL, text text NOT NULL, key bytea, PRIMARY KEY(base, id)
    ) PARTITION BY LIST(base);
CREATE UNIQUE INDEX ON ragstone.chunks(base, document_id, ordinal);
CREATE INDEX ON ragstone.chunks(base, key);
CREATE TABLE ragstone.words(
    base integer NOT NULL, id bigint NOT NULL, document_id bigint NOT NULL, length integer NOT NULL,
    often boolean NOT NULL, terms tsvector NOT NULL, language text COLLATE "C" NOT NULL, PRIMARY KEY(base, id)
    ) PARTITION BY LIST(base);
ALTER TABLE ragstone.words ALTER terms SET STORAGE MAIN;
CREATE INDEX ON ragstone.words(base, document_id);
CREATE INDEX ON ragstone.words USING gin(terms);
CREATE TABLE ragstone.vectors(
    base integer NOT NULL, id bigint NOT NULL, document_id bigint NOT NULL, vector halfvec NOT NULL,
    language text COLLATE "C" NOT NULL, PRIMARY KEY(base, id)) PARTITION BY LIST(base);
ALTER TABLE ragstone.vectors ALTER vector SET STORAGE MAIN;
CREATE INDEX ON ragstone.vectors(base, document_id);
CREATE TABLE ragstone.lexemes(
    base integer NOT NULL, term text COLLATE "C" NOT NULL, chunks integer NOT NULL, PRIMARY KEY(base, term));
CREATE TABLE ragstone.embeddings(
    base integer NOT NULL, key bytea NOT NULL, vector halfvec NOT NULL, PRIMARY KEY(base, key));
CREATE TABLE ragstone.bands(
    base integer NOT NULL, band bigint NOT NULL, document_id bigint NOT NULL, PRIMARY KEY(base, band, document_id));
CREATE INDEX ON ragstone.bands(document_id);
CREATE TABLE ragstone.failures(
    base integer NOT NULL, folder_id bigint NOT NULL, path text COLLATE "C" NOT NULL,
    size bigint NOT NULL, mtime_ns bigint NOT NULL, ctime_ns bigint NOT NULL, checked_ns bigint NOT NULL,
    error text NOT NULL, hint text NOT NULL, reader text NOT NULL, PRIMARY KEY(folder_id, path));
{_CHOICES}{_NO_STATISTICS}"""
_MORE_CHOICES = """
ALTER TABLE ragstone.choices ADD COLUMN IF NOT EXISTS tags text, ADD COLUMN IF NOT EXISTS date text COLLATE "C",
    ADD COLUMN IF NOT EXISTS corrections text NOT NULL DEFAULT '[]';
"""
STEPS = {2: _CHOICES + _NO_STATISTICS, 3: _MORE_CHOICES + _NO_STATISTICS}  # from each form to the next
TABLES = (
    "chunks", "words", "vectors", "documents", "folders", "failures", "choices", "left_out", "bands", "embeddings",
    "lexemes", "meta",
)  # fmt: skip
# With one @ at most, behind user and password, and nothing in these that ends them.
_WRITTEN = re.compile(r"postgres(?:ql)?://(?:[^@/?#]*@)?[^@#]*")
_MAKING = 0x7261_6773  # an advisory lock for whoever makes the tables


class Server:
    """A database, by its URL. Safe to share between threads; each call borrows a connection."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(
                "app.database is no URL of a PostgreSQL", "write postgresql://user:password@host/database"
            )
        if not _WRITTEN.fullmatch(url):
            raise _unreadable()
        self._url = url
        self._mutex = threading.Lock()
        self._free: list[Connection[Any]] = []
        self._threads = threading.local()
        self._held = threading.local()

    @property
    def held(self) -> set[int]:
        """The knowledge bases whose writer's place this thread holds (retrieval/postgres/lock.py)."""
        if not hasattr(self._held, "kbs"):
            self._held.kbs = set[int]()
        return self._held.kbs

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._mutex:
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    def connect(self) -> "Connection[Any]":
        """A new connection, for its caller to close. Raises `CatalogError` where the server cannot be reached."""
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            raise ConfigError(
                "app.database needs the package psycopg, which is not installed",
                "install it: pip install 'ragstone[postgresql]'",
            ) from None
        try:
            conninfo_to_dict(self._url)
        except psycopg.Error:  # whose message quotes what it cannot read
            raise _unreadable() from None
        with told():
            made = psycopg.connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_S,
                application_name=f"ragstone, process {os.getpid()} on {socket.gethostname()}"[:63],
            )  # fmt: skip
            # Compiling takes longer than any of our questions; tables are joined in the order in which we name them.
            made.execute("SET jit = off; SET join_collapse_limit = 1")
            return made

    @contextmanager
    def borrowed(self) -> Iterator["Connection[Any]"]:
        """A connection; within the block every call of this thread uses the same."""
        own: Connection[Any] | None = getattr(self._threads, "connection", None)
        if own is not None:
            with told():
                yield own
            return
        found = self._kept() or self.connect()
        self._threads.connection = found
        try:
            with told():
                yield found
        finally:
            self._threads.connection = None
            idle = found.info.transaction_status == found.info.transaction_status.IDLE
            with self._mutex:
                kept = idle and not found.closed and len(self._free) < _KEPT
                if kept:
                    self._free.append(found)
            if not kept:
                found.close()

    def _kept(self) -> "Connection[Any] | None":
        """A connection that nobody uses; those that the server has ended meanwhile go."""
        while True:
            with self._mutex:
                if not self._free:
                    return None
                found = self._free.pop()
            if not found.closed and not select.select([found], [], [], 0)[0]:  # else there is an end to be read
                return found
            found.close()

    def prepare(self) -> None:
        """Make the tables where there are none, and bring those of an earlier version to this one's form.

        Raises `CatalogError` where they are of a later version.
        """
        with self.borrowed() as db:
            if self._form(db) is None or self._form(db) in STEPS:
                with db.transaction():
                    db.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
                    if self._form(db) is None:
                        db.execute(SCHEMA.encode())
                    while (form := self._form(db)) in STEPS:
                        db.execute(STEPS[form].encode())
                        db.execute("UPDATE ragstone.form SET number = %s", [form + 1])
            if (form := self._form(db)) != FORM:
                raise CatalogError(
                    f"the tables in app.database have the form {form}, this version of ragstone knows {FORM}",
                    "use the version that made them, or another database",
                )

    @staticmethod
    def _form(db: "Connection[Any]") -> int | None:
        there = db.execute("SELECT to_regclass('ragstone.form')").fetchone()
        if there is None or there[0] is None:
            return None
        row = db.execute("SELECT number FROM ragstone.form").fetchone()
        return row[0] if row else 0


def _unreadable() -> ConfigError:
    """Of a URL in which a sign of the password stands as it is: taken for a host, it would be told to everybody."""
    return ConfigError(
        "app.database is a URL that cannot be read",
        "in user and password write %40 for @, %2F for /, %3F for ?, %23 for # and %25 for %",
    )


@contextmanager
def told() -> Iterator[None]:
    """What the server or the way to it says, as a `CatalogError`; nothing of the URL, which may hold a password."""
    import psycopg

    try:
        yield
    except psycopg.OperationalError as error:
        raise AwayError(
            f"the database of app.database cannot be used: {_first_line(error)}",
            "see that the PostgreSQL server runs and can be reached from here, then try again; nothing is lost",
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise CatalogError(
            "this generation of the knowledge base is not in the database of app.database any more", "ask again"
        ) from error
    except psycopg.Error as error:
        raise CatalogError(
            f"the database of app.database refused: {_first_line(error)}",
            "see docs/databases.md for what the server and its user need",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_SERVERS: dict[str, Server] = {}
_MAKING_ONE = threading.Lock()


def server(url: str) -> Server:
    """The server of a URL, with its tables made; the same for the same URL in one process."""
    with _MAKING_ONE:
        if url not in _SERVERS:
            found = Server(url)
            found.prepare()
            _SERVERS[url] = found
        return _SERVERS[url]
