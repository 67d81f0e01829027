"""People of a real directory: who is let in, by what, and what a name or a password cannot do to it."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.running import directory as module
from app.running.directory import Directory
from core.config import LdapConfig
from core.errors import ConfigError, ProviderError
from tests.app.office import ADMINS, BASE, PASSWORD, SEARCH_DN, STAFF, Slapd, slapd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as there:
        there.person("ann", STAFF, ADMINS)
        there.person("bob", STAFF)
        there.person("carl")
        yield there


def people(there: Slapd, **more: Any) -> Directory:
    directory = Directory(there.cfg(**more))
    directory.check_installed()
    return directory


def test_a_person_is_known_for_good_by_the_entry_and_comes_with_the_groups_that_are_named(there: Slapd) -> None:
    ann = people(there).person("ann", PASSWORD)
    assert ann
    assert (ann.name, ann.who.source, ann.who.issuer) == ("ann", "ldap", f"ou=people,{BASE}")
    assert len(ann.who.subject) == 36  # an entryUUID
    assert set(ann.groups) == {STAFF, ADMINS}
    bob, carl = (people(there).person(name, PASSWORD) for name in ("BOB", "carl"))
    assert bob
    assert (bob.name, bob.groups) == ("bob", (STAFF,))
    assert carl
    assert carl.groups == ()


def test_another_person_of_the_same_name_later_is_somebody_else(there: Slapd) -> None:
    dn = there.person("dora", STAFF)
    before = people(there).person("dora", PASSWORD)
    there.delete(dn)
    assert people(there).person("dora", PASSWORD) is None
    there.delete(there.person("dora", STAFF))
    there.person("dora", STAFF)
    after = people(there).person("dora", PASSWORD)
    assert before
    assert after
    assert before.who != after.who


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", PASSWORD + "\0", "\0", "\ud800"])
def test_a_wrong_and_an_empty_password_let_nobody_in(there: Slapd, password: str) -> None:
    assert people(there).person("ann", password) is None


def test_this_directory_would_take_an_empty_password_for_nobodys_and_say_yes(there: Slapd) -> None:
    """So the test above tests something: RFC 4513 5.1.2."""
    dn = f"cn=ann,ou=people,{BASE}".encode()
    asked = (
        b"\x02\x01\x03\x04" + bytes([len(dn)]) + dn + b"\x80\x00"
    )  # version 3, the DN, a simple password of no bytes
    body = b"\x02\x01\x01\x60" + bytes([len(asked)]) + asked
    with socket.create_connection(("127.0.0.1", int(there.url.rsplit(":", 1)[1])), 10) as connection:
        connection.sendall(b"\x30" + bytes([len(body)]) + body)
        heard = connection.recv(1024)
        assert b"\x61\x07\x0a\x01\x00" in heard  # a bind response: success


@pytest.mark.parametrize(
    "name",
    ["*", "a*", "ann)(uid=*",
     "*)(objectClass=*", "ann)(|(uid=*", "\\61nn", "ann\0", "an\\6e", "(ann)", "", " ", "\ud800", "nobody"],
)  # fmt: skip
def test_a_name_is_compared_as_it_was_typed(there: Slapd, name: str) -> None:
    assert people(there).person(name, PASSWORD) is None


@settings(deadline=None, max_examples=50)
@given(name=st.text(st.sampled_from("an*()\\&|!=<>~:,+#\0;\"' {}dname"), min_size=1, max_size=12))
def test_no_name_opens_another_account(there: Slapd, name: str) -> None:
    found = people(there).person(name, PASSWORD)
    assert found is None or found.name == name.strip().lower()


def test_somebody_whose_name_is_full_of_signs_gets_in_and_their_groups_are_found(there: Slapd) -> None:
    odd = "o'(ne)*\\"
    there.person(odd, STAFF, cn='Doe, "J" (ext)*\\')
    by_search = people(there, group_attribute="", group_base=f"ou=groups,{BASE}").person(odd, PASSWORD)
    by_attribute = people(there).person(odd, PASSWORD)
    assert by_search
    assert by_search == by_attribute
    assert by_search.groups == (STAFF,)


def test_groups_are_named_without_regard_to_case_and_space(there: Slapd) -> None:
    named = "CN=Staff, OU=Groups, DC=Example, DC=Com"
    bob = people(there, groups={named: {"role": "reader"}}).person("bob", PASSWORD)
    assert bob
    assert bob.groups == (named,)
    odd = people(there, group_attribute="MEMBEROF", id_attribute="entryuuid", name_attribute="UID").person(
        "bob", PASSWORD
    )
    assert odd
    assert (odd.name, odd.groups) == ("bob", (STAFF,))


def test_several_people_of_one_name_are_refused(there: Slapd) -> None:
    there.add(f"ou=more,ou=people,{BASE}", ["organizationalUnit"])
    there.person("emil", STAFF)
    there.person("emil", STAFF, ou="more,ou=people")
    with pytest.raises(ProviderError, match="several people"):
        people(there).person("emil", PASSWORD)


def test_an_entry_without_what_tells_it_for_good_is_refused(there: Slapd) -> None:
    with pytest.raises(ProviderError, match="has not one employeeNumber"):
        people(there, id_attribute="employeeNumber").person("ann", PASSWORD)


def test_the_password_of_somebody_who_was_locked_out_opens_nothing(there: Slapd) -> None:
    dn = there.person("fay", STAFF)
    there.change(dn, userPassword=("replace", ["{CRYPT}!" + "x" * 20]))
    assert people(there).person("fay", PASSWORD) is None


def test_ldaps_is_checked_by_certificate_and_by_host(there: Slapd) -> None:
    assert people(there, url=there.tls, ca_file=str(there.ca)).person("ann", PASSWORD)
    with pytest.raises(ProviderError, match="certificate"):
        people(there, url=there.tls).person("ann", PASSWORD)
    with pytest.raises(ProviderError, match="does not answer as it should"):
        people(there, url=there.tls.replace("localhost", "127.0.0.1"), ca_file=str(there.ca)).person("ann", PASSWORD)


def test_starttls_comes_before_any_password(there: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    named = there.url.replace("127.0.0.1", "localhost")
    assert people(there, url=named, tls="on", ca_file=str(there.ca)).person("ann", PASSWORD)
    assert "TLS" in people(there, url=named, tls="on", ca_file=str(there.ca)).check()
    assert "not encrypted" in people(there).check()
    monkeypatch.setattr(module, "is_loopback", lambda host: False)  # as a host of the network
    with pytest.raises(ProviderError, match="certificate"):
        people(there, url=named).person("ann", PASSWORD)
    assert people(there, url=named, ca_file=str(there.ca)).person("ann", PASSWORD)
    assert people(there, url=named, tls="off").person("ann", PASSWORD)


def test_where_starttls_is_refused_nothing_is_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that answers no StartTLS sees that request and nothing behind it."""
    monkeypatch.setattr(module, "is_loopback", lambda host: False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cfg = LdapConfig(
            url=f"ldap://127.0.0.1:{listener.getsockname()[1]}", base=BASE, bind_dn=SEARCH_DN, bind_password="secret",
            timeout_s=1.0,
        )  # fmt: skip
        with pytest.raises(ProviderError):
            Directory(cfg).person("ann", PASSWORD)
        sent, _ = listener.accept()
        with sent:
            sent.settimeout(5)
            heard = sent.recv(65536)
    assert b"1.3.6.1.4.1.1466.20037" in heard
    assert b"secret" not in heard


def test_a_directory_that_is_away_or_hangs_is_told_in_time(there: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ProviderError, match="does not answer") as told:
            Directory(there.cfg(url=url, timeout_s=1.0)).person("ann", PASSWORD)
    assert told.value.away
    with pytest.raises(ProviderError, match="does not answer"):
        Directory(there.cfg(url=url)).person("ann", PASSWORD)


def test_the_apps_own_account_is_checked(there: Slapd) -> None:
    with pytest.raises(ProviderError, match=r"refuses ldap\.bind_dn") as told:
        people(there, bind_password="wrong").check()
    assert "wrong" not in str(told.value)
    with pytest.raises(ProviderError, match="shows nothing"):
        people(there, base=f"ou=nowhere,{BASE}").check()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"base": ""}, r"ldap\.base"), ({"bind_password": ""}, r"ldap\.bind_password"),
        ({"group_filter": "(member={user})"}, "has '{user}' in it"),
    ],
    ids=["base", "password", "filter"],
)  # fmt: skip
def test_what_must_be_set_is_said_before_the_app_starts(wrong: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"url": "ldap://127.0.0.1", "base": BASE, "bind_dn": SEARCH_DN, "bind_password": "x"}
    with pytest.raises(ConfigError, match=told):
        Directory(LdapConfig(**given | wrong)).check_installed()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldap3", None)
    with pytest.raises(ConfigError, match="ldap3") as told:
        Directory(LdapConfig(url="ldap://127.0.0.1", base=BASE)).check_installed()
    assert "ragstone[office]" in told.value.hint


def test_groups_within_groups_are_found_by_the_rule_that_a_filter_names(there: Slapd) -> None:
    """OpenLDAP has no such rule; that the filter reaches it whole, with the DN escaped, is seen by what is logged."""
    assert module._filled("(member:1.2.840.113556.1.4.1941:={dn})", dn="cn=a\\,b (c)*,dc=d") == (
        "(member:1.2.840.113556.1.4.1941:=cn=a\\5c,b \\28c\\29\\2a,dc=d)"
    )
    asked = people(there, group_attribute="", group_base=BASE, group_filter="(member:1.2.840.113556.1.4.1941:={dn})")
    ann = asked.person("ann", PASSWORD)
    assert ann
    assert ann.groups == ()
