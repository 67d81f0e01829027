"""Who keeps accounts elsewhere, for tests: OpenLDAP's own server and a provider of OpenID Connect, on loopback."""

import datetime
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.config import LdapConfig
from tests.fixtures_vllm import free_port

BASE = "dc=example,dc=com"
PASSWORD = "correct horse battery"
SEARCH_DN, SEARCH_PASSWORD = f"cn=search,{BASE}", "the app's own password"
STAFF, ADMINS, NESTED = (f"cn={name},ou=groups,{BASE}" for name in ("staff", "admins", "everyone"))
GROUPS: dict[str, dict[str, Any]] = {STAFF: {"role": "reader", "kbs": ["handbook"]}, ADMINS: {"role": "admin"}}
_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {folder}/slapd.pid
allow bind_anon_dn
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{search}" read by anonymous auth by * none
database mdb
maxsize 10485760
suffix "{base}"
rootdn "cn=root,{base}"
rootpw root
directory {folder}/db
overlay memberof
memberof-refint TRUE
"""
_PEOPLE = """
dn: {base}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: {search}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: search
userPassword: {search_password}
"""


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running directory; `tls` is its address by LDAPS, whose certificate is of `localhost` alone."""

    url: str
    tls: str
    ca: Path
    process: "subprocess.Popen[bytes]"

    def cfg(self, **more: Any) -> LdapConfig:
        """Settings by which people of it get in."""
        given: dict[str, Any] = {
            "url": self.url, "base": f"ou=people,{BASE}", "bind_dn": SEARCH_DN, "bind_password": SEARCH_PASSWORD,
            "groups": GROUPS, "timeout_s": 5.0,
        }  # fmt: skip
        return LdapConfig(**given | more)

    def add(self, dn: str, kinds: list[str], **attributes: Any) -> None:
        """Put an entry there."""
        with self._root() as root:
            assert root.add(dn, kinds, attributes), root.result

    def person(self, uid: str, *groups: str, password: str = PASSWORD, ou: str = "people", cn: str = "") -> str:
        """Put somebody there, into groups; their DN."""
        from ldap3.utils.dn import escape_rdn

        dn = f"cn={escape_rdn(cn or uid)},ou={ou},{BASE}"
        self.add(dn, ["inetOrgPerson"], sn="Doe", uid=uid, userPassword=password)
        for group in groups:
            self.change(group, member=("add", [dn]))
        return dn

    def change(self, dn: str, **attributes: tuple[str, list[str]]) -> None:
        """Change an entry: by attribute, "add", "delete" or "replace", and values."""
        from ldap3 import MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE

        how = {"add": MODIFY_ADD, "delete": MODIFY_DELETE, "replace": MODIFY_REPLACE}
        with self._root() as root:
            assert root.modify(dn, {name: [(how[do], values)] for name, (do, values) in attributes.items()}), (
                root.result
            )

    def delete(self, dn: str) -> None:
        """Remove an entry."""
        with self._root() as root:
            assert root.delete(dn), root.result

    @contextmanager
    def _root(self) -> Iterator[Any]:
        from ldap3 import NONE, Connection, Server

        port = int(self.url.rsplit(":", 1)[1])
        with Connection(Server("127.0.0.1", port, get_info=NONE), f"cn=root,{BASE}", "root", auto_bind=True) as root:
            yield root


@contextmanager
def slapd(folder: Path) -> Iterator[Slapd]:
    """OpenLDAP's server with two groups and nobody in them; without it the test is skipped."""
    programs = [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("slapd", "slapadd")]
    if not all(programs):
        pytest.skip("there is no slapd: install Debian's package of that name")
    server, adder = map(str, programs)
    certificates(folder)
    (folder / "db").mkdir()
    conf, ldif = folder / "slapd.conf", folder / "people.ldif"
    conf.write_text(_CONF.format(folder=folder, base=BASE, search=SEARCH_DN))
    ldif.write_text(_PEOPLE.format(base=BASE, search=SEARCH_DN, search_password=SEARCH_PASSWORD))
    subprocess.run([adder, "-f", str(conf), "-l", str(ldif)], check=True, capture_output=True)
    plain, tls = f"ldap://127.0.0.1:{free_port()}", f"ldaps://localhost:{free_port()}"
    with (folder / "slapd.log").open("wb") as log:
        process = subprocess.Popen([server, "-f", str(conf), "-h", f"{plain} {tls}", "-d", "0"], stdout=log, stderr=log)
    found = Slapd(plain, tls, folder / "ca.pem", process)
    try:
        _wait(lambda: found.add(STAFF, ["groupOfNames"], member=SEARCH_DN), process, folder / "slapd.log")
        found.add(ADMINS, ["groupOfNames"], member=SEARCH_DN)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def certificates(folder: Path) -> None:
    """ca.pem, and server.pem with server.key that it signed, for `localhost`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("an authority", "localhost")]
    for n, (name, file) in enumerate(zip(names, ("ca.pem", "server.pem"), strict=True)):
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(keys[n].public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=n == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[n].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )  # fmt: skip
        if n:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        signed = made.sign(keys[0], hashes.SHA256())
        (folder / file).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@dataclass(frozen=True, slots=True)
class Idp:
    """A running provider."""

    issuer: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def people(self, **people: list[str]) -> None:
        """Who is there, each with their groups."""
        rows = {name: {"password": PASSWORD, "groups": groups} for name, groups in people.items()}
        (self.folder / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": rows}))
        httpx.post(f"{self.issuer}/api/config/reload", timeout=30).raise_for_status()

    def new_key(self) -> None:
        """Sign by another key from now on."""
        httpx.post(f"{self.issuer}/api/keys/rotate", timeout=60).raise_for_status()

    def log_in(self, browser: httpx.Client, url: str, name: str) -> str:
        """Go through the provider's own page in a browser of its own cookies; where it leads back to."""
        form = browser.get(url)
        assert form.status_code == 200, form.text
        transaction = re.search(r'name="transaction_id" value="([^"]+)"', form.text)
        assert transaction, form.text
        data = {"transaction_id": transaction[1], "username": name, "password": PASSWORD}
        back = browser.post(url, data=data, follow_redirects=False)
        assert back.status_code in (302, 303), back.text
        return back.headers["location"]


@contextmanager
def idp(folder: Path, redirects: list[str], client: Mapping[str, str], port: int = 0) -> Iterator[Idp]:
    """NanoIDP with one client, and nobody there."""
    port = port or free_port()
    issuer = f"http://127.0.0.1:{port}"
    registered = {"client_id": client["id"], "client_secret": client["secret"], "redirect_uris": redirects}
    settings = {
        "config_version": 1, "server": {"host": "127.0.0.1", "port": port},
        "oauth": {"issuer": issuer, "audience": "elsewhere", "clients": [registered | {"require_pkce": True}]},
    }  # fmt: skip
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    (folder / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": {}}))
    program = str(Path(sys.executable).with_name("nanoidp"))
    with (folder / "idp.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", str(folder), "--port", str(port)], cwd=folder, stdout=log, stderr=log
        )
    try:
        _wait(lambda: httpx.get(f"{issuer}/api/health", timeout=5).raise_for_status(), process, folder / "idp.log")
        yield Idp(issuer, folder, process)
    finally:
        process.terminate()
        process.wait(20)


def _wait(try_: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            try_()
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it does not answer ({error}):\n{log.read_text(errors='replace')}") from error
            time.sleep(0.1)
