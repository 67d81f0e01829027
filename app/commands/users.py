"""The commands that keep users: who may log in, as what, to which knowledge bases, with which API keys."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.terminal import AsJson, err, noted, out, print_json, typed
from app.running.accounts import SHOWN, Accounts, Identity, Role, canonical
from app.running.audit import entries, moment
from app.running.chats import Chats
from app.running.usage import KEPT_DAYS, Usage, named
from app.running.users import Users
from core.config import Settings
from core.errors import ConfigError

user = typer.Typer(no_args_is_help=True, help="Who may use the app from elsewhere: users, roles, API keys.")
key = typer.Typer(no_args_is_help=True, help="API keys, for programs: each stands for its user.")
user.add_typer(key, name="key")

Name = Annotated[str, typer.Argument(help="Letters, digits and . _ @ + -; upper and lower case are one.")]
Kbs = Annotated[list[str] | None, typer.Option("--kb", help="May see this knowledge base; repeat it. None: all.")]
_SUBJECT = "give it as `ragstone user list --json` shows it, such as oidc:248289761001"
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin, its first line.")]


@user.command()
def add(
    ctx: typer.Context,
    name: Name,
    role: Annotated[str, typer.Option("--role", help="reader, editor or admin.")] = "reader",
    kb: Kbs = None,
    from_stdin: FromStdin = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="For a program: it only works by its API keys.")
    ] = False,
) -> None:
    """Add a user. A reader asks, an editor changes knowledge bases and prompts, an admin everything."""
    accounts, role_ = _accounts(ctx), _role(role)
    if from_stdin and no_password:
        raise ConfigError("--password-stdin and --no-password contradict each other", "give one of them")
    _warn_unknown(ctx, kb)
    accounts.add(name, role_, kb or None, None if no_password else _password(from_stdin))
    noted(ctx.obj, "user.add", canonical(name), f"{role_}; {_seen(kb)}")
    out.print(f"{escape(name)} is {role_}, and may see {escape(_seen(kb))}")
    config = ctx.obj.config
    if not Users(config.app, config.oidc, config.ldap).on:
        err.print("note: nobody has to log in as long as app.host is 127.0.0.1 and app.users is 'auto'")


@user.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the users, with the number of their keys."""
    accounts = _accounts(ctx)
    keys, subjects = [key_.user for key_ in accounts.keys_of()], accounts.subjects()
    rows = [
        {
            "name": a.name, "role": a.role, "bases": None if a.bases is None else list(a.bases),
            "password": a.has_password, "keys": keys.count(a.name), "source": a.source, "issuer": a.issuer,
            "subject": subjects.get(a.id, ""), "by_hand": list(a.by_hand), "until": a.until,
        }
        for a in accounts.all()
    ]  # fmt: skip
    if as_json:
        print_json({"users": rows})
        return
    table = Table(box=None)
    for title in ("name", "role", "knowledge bases", "logs in", "keys"):
        table.add_column(title)
    for row in rows:
        bases = "all" if row["bases"] is None else ", ".join(row["bases"])
        hand = [" (by hand)" if name in row["by_hand"] else "" for name in ("role", "bases")]
        how = f"{row['source']} {row['issuer']}" if row["source"] else "by password" if row["password"] else "no"
        how += " (closed)" * (row["until"] == 0)
        table.add_row(
            escape(row["name"]), row["role"] + hand[0], escape(bases + hand[1]), escape(how), str(row["keys"])
        )
    out.print(table if rows else "no users: `ragstone user add NAME --role admin` makes the first")


@user.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a user, with all keys and conversations; who is logged in is out at once."""
    accounts, chats = _accounts(ctx), Chats(Path(ctx.obj.config.app.data))
    account = accounts.get(name)
    deleted = chats.delete_all(account.id)  # before the account: where it fails, the command can be given again
    accounts.remove(name)
    Usage(accounts.file.parent).forget(account.id)
    deleted += chats.delete_all(account.id)  # what was asked meanwhile
    noted(ctx.obj, "user.remove", account.name, f"{deleted} conversations")
    out.print(f"{escape(name)} is removed, and {deleted} conversations")


@user.command()
def role(ctx: typer.Context, name: Name, role: Annotated[str, typer.Argument(help="reader, editor or admin.")]) -> None:
    """Change what a user may do; who is logged in has to do so again."""
    role_ = _role(role)
    _accounts(ctx).set_role(name, role_)
    noted(ctx.obj, "user.role", canonical(name), role_)
    out.print(f"{escape(name)} is {role_}")


@user.command()
def access(ctx: typer.Context, name: Name, kb: Kbs = None) -> None:
    """Change which knowledge bases a user may see; without --kb: all."""
    _warn_unknown(ctx, kb)
    _accounts(ctx).set_bases(name, kb or None)
    noted(ctx.obj, "user.access", canonical(name), _seen(kb))
    out.print(f"{escape(name)} may see {escape(_seen(kb))}")


@user.command()
def password(ctx: typer.Context, name: Name, from_stdin: FromStdin = False) -> None:
    """Change a user's password; who is logged in has to do so again. API keys stay."""
    _accounts(ctx).set_password(name, _password(from_stdin))
    noted(ctx.obj, "user.password", canonical(name))
    out.print(f"the password of {escape(name)} is changed")


@user.command("by-groups")
def by_groups(ctx: typer.Context, name: Name) -> None:
    """Have a user's role and access go by the groups there again, from the next login on."""
    _accounts(ctx).go_by_groups(name)
    noted(ctx.obj, "user.by-groups", canonical(name))
    out.print(f"{escape(name)} goes by the groups again, from the next login on")


@user.command()
def link(
    ctx: typer.Context,
    name: Name,
    subject: Annotated[
        str, typer.Argument(help="As `user list --json` shows it of who logged in: oidc:... or ldap:...")
    ],
) -> None:
    """Let a person of the provider, or the directory, into an account that was made here, which keeps its rights."""
    source, _, who = subject.partition(":")
    config = ctx.obj.config
    users = Users(config.app, config.oidc, config.ldap)
    if source == "oidc" and users.provider and who:
        identity = Identity("oidc", users.provider.issuer, who)
    elif source == "ldap" and users.directory and who:
        identity = Identity("ldap", users.directory.issuer, who)
    else:
        raise ConfigError(f"{subject!r} names nobody of a provider or a directory that is configured", _SUBJECT)
    _accounts(ctx).link(name, identity)
    noted(ctx.obj, "user.link", canonical(name), subject)
    out.print(f"{escape(subject)} opens {escape(name)}")


@key.command("add")
def add_key(
    ctx: typer.Context,
    name: Name,
    label: Annotated[str, typer.Option("--label", help="What it is for, so that you know later.")] = "",
    days: Annotated[float | None, typer.Option("--days", min=0.001, max=36500, help="Expires after these.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and show it, this once."""
    made = _accounts(ctx).add_key(name, label[:100], days)
    noted(ctx.obj, "key.add", canonical(name), f"{made[:SHOWN]}… {label[:100]}".strip())
    if as_json:
        print_json({"key": made})
    else:
        err.print("keep it: it is not stored and will not be shown again")
        out.print(made, highlight=False, markup=False)


@key.command("list")
def list_keys(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="Default: those of all users.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List API keys: how they begin, what for, when they were last used."""
    keys = _accounts(ctx).keys_of(name)
    if as_json:
        rows = [
            {"user": k.user, "prefix": k.prefix, "label": k.label, "made": k.made, "expires": k.expires, "used": k.used}
            for k in keys
        ]
        print_json({"keys": rows})
        return
    table = Table(box=None)
    for title in ("user", "key", "for", "made", "expires", "last used"):
        table.add_column(title)
    for k in keys:
        cells = (k.user, f"{k.prefix}…", k.label, _day(k.made), _day(k.expires), _day(k.used))
        table.add_row(*map(escape, cells))
    out.print(table if keys else "no keys: `ragstone user key add NAME` makes one")


@key.command()
def revoke(
    ctx: typer.Context, name: Name, prefix: Annotated[str, typer.Argument(help="How the key begins, e.g. rs-Ab12C.")]
) -> None:
    """Revoke an API key: from now on it opens nothing."""
    _accounts(ctx).revoke_key(name, prefix)
    noted(ctx.obj, "key.revoke", canonical(name), f"{prefix[:SHOWN]}…")
    out.print(f"{escape(prefix)}… of {escape(name)} is revoked")


def audit(
    ctx: typer.Context,
    count: Annotated[int, typer.Option("--count", min=1, help="How many, from the newest back.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what: users, keys, folders, promotions, purges, restores."""
    rows = entries(Path(ctx.obj.config.app.data), count)
    if as_json:
        print_json({"entries": [asdict(row) for row in rows]})
        return
    table = Table(box=None)
    for title in ("when", "who", "what", "on", "detail"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, (moment(row.at), row.who, row.what, row.on, row.detail)))
    out.print(table if rows else "nothing was done yet")


def usage(
    ctx: typer.Context,
    days: Annotated[int, typer.Option("--days", min=1, max=KEPT_DAYS, help="How many, today among them.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show how many questions each person asked of each knowledge base: counts, and nothing of what was asked."""
    data = Path(ctx.obj.config.app.data)
    rows = named(Usage(data).totals(days), Accounts(data))
    if as_json:
        print_json(
            {
                "days": days,
                "usage": [
                    {
                        "user": name, "kb": row.kb, "page": row.page, "api": row.api, "mcp": row.mcp,
                        "total": row.total, "last": row.last,
                    }
                    for name, row in rows
                ],
            }
        )  # fmt: skip
        return
    table = Table(box=None)
    for title in ("user", "knowledge base", "page", "API", "MCP", "in all", "last day"):
        table.add_column(title)
    for name, row in rows:
        counts = map(str, (row.page, row.api, row.mcp, row.total))
        table.add_row(escape(name or "-"), escape(row.kb), *counts, row.last)
    out.print(table if rows else f"nothing was asked in the last {days} days")


def _seen(kbs: list[str] | None) -> str:
    return ", ".join(kbs) if kbs else "all knowledge bases"


def _accounts(ctx: typer.Context) -> Accounts:
    settings: Settings = ctx.obj
    return Accounts(Path(settings.config.app.data))


def _role(text: str) -> Role:
    for role_ in get_args(Role):
        if text == role_:
            return role_
    raise ConfigError(f"there is no role {text!r}", "use reader, editor or admin")


def _password(from_stdin: bool) -> str:
    """A password, typed twice without being shown, or the first line of stdin."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not typed():
        raise ConfigError("there is no terminal to ask for a password", "give it on stdin with --password-stdin")
    return typer.prompt("Password", hide_input=True, confirmation_prompt="The same again")


def _warn_unknown(ctx: typer.Context, kbs: list[str] | None) -> None:
    """A knowledge base may be made later, or be misspelt."""
    from retrieval.index import Index

    for kb in sorted(set(kbs or ()) - set(Index.names(Path(ctx.obj.config.app.data), ctx.obj.config.app.database))):
        err.print(f"note: there is no knowledge base {escape(repr(kb))} yet")


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else "-"
