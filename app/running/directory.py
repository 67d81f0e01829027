"""People of a directory (LDAP, RFC 4511): found by the app's own account, then let in by binding as themselves.

What was typed never reaches a filter unescaped, nor is an empty password tried: by RFC 4513 that is a bind as nobody,
which succeeds. Everything here blocks, for at most some times `ldap.timeout_s`.
"""

import math
import re
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.running.accounts import Identity
from app.running.arriving import Person
from core.config import LdapConfig
from core.errors import ConfigError, ProviderError
from core.places import is_loopback

if TYPE_CHECKING:
    from ldap3 import Connection, Tls

_MOST_GROUPS = 2000  # of one person
_SOME = ("success", "noSuchObject", "sizeLimitExceeded")  # what a search ends with that found some, or none
_PLACE = re.compile(r"\{(\w+)\}")


class Directory:
    """The directory of `[ldap]`. Safe to use from many threads: each look-up has connections of its own."""

    def __init__(self, cfg: LdapConfig) -> None:
        self.cfg = cfg
        self.issuer = _plain(cfg.base)  # whichever of its servers answers

    def check_installed(self) -> None:
        """Raise `ConfigError` where the package is missing, or what must be set is not."""
        try:
            import ldap3  # noqa: F401
        except ImportError:
            raise ConfigError(
                "accounts of a directory need the package ldap3, which is not installed",
                "install it: pip install 'ragstone[office]'",
            ) from None
        if not self.cfg.base:
            raise ConfigError("ldap.url is set, and ldap.base is not", "say below what people are looked for")
        if self.cfg.bind_dn and not self.cfg.bind_password:
            raise ConfigError(
                "ldap.bind_dn is set, and ldap.bind_password is not", "a bind without a password is one as nobody"
            )
        for names, filter_ in (({"name"}, self.cfg.filter), ({"name", "dn"}, self.cfg.group_filter)):
            _check_filter(filter_, names)

    def person(self, name: str, password: str) -> Person | None:
        """Who has this name and password; None for a wrong one. Raises `ProviderError`."""
        if not name or not password or "\0" in password or not _encodable(name + password):
            return None
        with self._bound(self.cfg.bind_dn, self.cfg.bind_password) as service:
            if service is None:
                raise ProviderError("the directory refuses ldap.bind_dn", "check it and ldap.bind_password")
            entry = self._found(service, name)
            # A name that is not there takes a bind as long: nobody learns by the time which names are.
            dn = entry["dn"] if entry else f"cn={secrets.token_hex(8)},{self.cfg.base}"
            with self._bound(dn, password) as own:
                if own is None or entry is None:
                    return None
            identity = self._identity(entry)
            called = _texts(entry, self.cfg.name_attribute)
            return Person(identity, called[0] if called else name, tuple(self._groups(service, entry, name)))

    def check(self) -> str:
        """Whether the app's own account can look people up; what was seen, for doctor. Raises `ProviderError`."""
        with self._bound(self.cfg.bind_dn, self.cfg.bind_password) as service:
            if service is None:
                raise ProviderError("the directory refuses ldap.bind_dn", "check it and ldap.bind_password")
            if not service.search(self.cfg.base, "(objectClass=*)", "BASE"):
                raise ProviderError(
                    f"the directory shows nothing at {self.cfg.base!r}: {service.result['description']}",
                    "check ldap.base, and what ldap.bind_dn may read",
                )
            how = "TLS" if service.server.ssl or service.tls_started else "not encrypted"
            return f"{self.cfg.url}, {how}, as {self.cfg.bind_dn or 'nobody'}, people below {self.cfg.base}"

    def _found(self, service: "Connection", name: str) -> dict[str, Any] | None:
        wanted = {self.cfg.name_attribute, self.cfg.id_attribute, self.cfg.group_attribute} - {""}
        filter_ = _filled(self.cfg.filter, name=name)
        entries, all_ = _searched(service, self.cfg.base, filter_, sorted(wanted), 2)
        if len(entries) > 1 or not all_:
            raise ProviderError(
                "several people of the directory have the name that was typed",
                "ldap.filter must find one at most: narrow it, or ldap.base",
            )
        return entries[0] if entries else None

    def _identity(self, entry: dict[str, Any]) -> Identity:
        values = entry["raw_attributes"].get(self.cfg.id_attribute) or []
        if len(values) != 1 or not values[0]:
            raise ProviderError(
                f"an entry of the directory has not one {self.cfg.id_attribute}",
                "set ldap.id_attribute to what is a person's for good: entryUUID, objectGUID",
            )
        try:
            subject = values[0].decode("ascii")
            readable = subject.isprintable()
        except UnicodeDecodeError:
            subject, readable = "", False
        return Identity("ldap", self.issuer, subject if readable else values[0].hex())

    def _groups(self, service: "Connection", entry: dict[str, Any], name: str) -> Iterator[str]:
        """The groups of a person that the configuration names, as it names them."""
        found = set(map(_plain, _texts(entry, self.cfg.group_attribute))) if self.cfg.group_attribute else set()
        if self.cfg.group_base:
            filter_ = _filled(self.cfg.group_filter, name=name, dn=entry["dn"])
            groups, _ = _searched(service, self.cfg.group_base, filter_, [], _MOST_GROUPS)
            found |= {_plain(group["dn"]) for group in groups}
        return (group for group in self.cfg.groups if _plain(group) in found)

    @contextmanager
    def _bound(self, dn: str, password: str) -> "Iterator[Connection | None]":
        """A connection that was let in; None where name or password are wrong. Raises `ProviderError`."""
        from ldap3 import ANONYMOUS, NONE, SIMPLE, Connection, Server
        from ldap3.core.exceptions import LDAPException

        url = urlsplit(self.cfg.url)
        host, tls = url.hostname or "", url.scheme == "ldaps"
        wait_s = math.ceil(self.cfg.timeout_s)  # ldap3 takes whole seconds
        server = Server(
            host, url.port or (636 if tls else 389), use_ssl=tls, tls=_encrypting(self.cfg.ca_file), get_info=NONE,
            connect_timeout=wait_s,
        )  # fmt: skip
        connection = Connection(
            server, dn or None, password if dn else None, authentication=SIMPLE if dn else ANONYMOUS, read_only=True,
            auto_referrals=False, receive_timeout=wait_s, raise_exceptions=False,
        )  # fmt: skip
        try:
            connection.open()
            if not tls and (self.cfg.tls == "on" or (self.cfg.tls == "auto" and not is_loopback(host))):
                connection.start_tls()
            let_in = connection.bind()
            refused = connection.result["description"]
            if not let_in and refused in ("busy", "unavailable"):
                raise ProviderError(f"the directory is {refused}", "try again in a while", away=True)
            yield connection if let_in else None
        except (LDAPException, OSError) as error:
            raise ProviderError(
                f"the directory at {self.cfg.url} does not answer as it should: {_why(error)}",
                "see ldap.url, ldap.tls and ldap.ca_file; `ragstone doctor` examines them",
                away=True,
            ) from error
        finally:
            with suppress(LDAPException, OSError):  # it may be closed already
                connection.unbind()


def _encrypting(ca_file: str) -> "Tls":
    """What ldap3 encrypts connections by: OpenSSL checks the certificate and its host, in any version of Python."""
    from ldap3 import Tls

    class Verified(Tls):
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            context = ssl.create_default_context(cafile=ca_file or None)
            connection.socket = context.wrap_socket(connection.socket, server_hostname=connection.server.host)

    return Verified()


def _searched(
    service: "Connection", base: str, filter_: str, attributes: list[str], most: int
) -> tuple[list[dict[str, Any]], bool]:
    """The entries below a DN that a filter lets through, and whether those are all. Raises `ProviderError`."""
    from ldap3 import SUBTREE

    service.search(base, filter_, SUBTREE, attributes=attributes or None, size_limit=most)
    came = service.result["description"]
    if came not in _SOME:
        raise ProviderError(f"the directory does not search below {base!r}: {came}", "check what ldap.bind_dn may read")
    found = [entry for entry in service.response or () if entry["type"] == "searchResEntry"]  # no referrals
    return found, came != "sizeLimitExceeded"


def _texts(entry: dict[str, Any], attribute: str) -> list[str]:
    """The values of an attribute as text, whatever the directory's schema says of it."""
    return [value.decode("utf-8", "replace") for value in entry["raw_attributes"].get(attribute) or ()]


def _filled(filter_: str, **values: str) -> str:
    """A filter with values in their places, as text that is nothing else there (RFC 4515)."""
    from ldap3.utils.conv import escape_filter_chars

    return _PLACE.sub(lambda place: escape_filter_chars(values[place[1]]), filter_)


def _check_filter(filter_: str, names: set[str]) -> None:
    unknown = next((place for place in _PLACE.finditer(filter_) if place[1] not in names), None)
    if unknown:
        known = " and ".join(f"{{{name}}}" for name in sorted(names))
        raise ConfigError(f"a filter of [ldap] has {unknown[0]!r} in it", f"what is known there is {known}")


def _plain(dn: str) -> str:
    """The one form of a DN: case and space around its parts tell none apart.

    >>> _plain("CN=Staff, OU=Groups,dc = example")
    'cn=staff,ou=groups,dc=example'
    """
    return re.sub(r"\s*(?<!\\)([,=+])\s*", r"\1", dn.strip().casefold())


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
