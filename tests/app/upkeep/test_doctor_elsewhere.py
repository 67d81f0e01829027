"""`ragstone doctor` examines who keeps accounts elsewhere, and shows no secret."""

import os
from pathlib import Path

import pytest

from app.upkeep import doctor
from core.config import Config, OidcConfig
from tests.app.office import idp, slapd

pytestmark = pytest.mark.slow


def test_without_a_provider_and_a_directory_there_is_nothing_to_examine() -> None:
    assert doctor._elsewhere(Config()) == []


def test_what_answers_is_told_and_what_does_not_why(tmp_path: Path) -> None:
    for name in ("idp", "slapd"):
        os.mkdir(tmp_path / name)
    client = {"id": "ragstone", "secret": "a secret of the tests"}
    with idp(tmp_path / "idp", ["http://127.0.0.1:1/x"], client) as there, slapd(tmp_path / "slapd") as directory:
        given = OidcConfig(issuer=there.issuer, client_id="ragstone", client_secret=client["secret"])
        provider, ldap = doctor._elsewhere(Config(oidc=given, ldap=directory.cfg()))
        assert (provider.ok, provider.hint) == (False, "nobody gets in: [oidc] groups is empty")
        assert "keys that sign: 1" in provider.detail
        assert ldap.ok
        assert "2 groups get in" in ldap.detail
        wrong = directory.cfg(bind_password="a wrong secret")
        away = OidcConfig(issuer="http://127.0.0.1:9", client_id="x", client_secret="another secret")
        provider, ldap = doctor._elsewhere(Config(oidc=away, ldap=wrong))
        assert not provider.ok
        assert "does not answer" in provider.detail
        assert not ldap.ok
        assert "refuses ldap.bind_dn" in ldap.detail
        assert "secret" not in str((provider, ldap))
