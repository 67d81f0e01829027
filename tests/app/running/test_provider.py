"""What a provider says is believed only where it is for this login: a provider that lies in every way that is known."""

import asyncio
import hmac
import json
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwk, jwt

from app.running import provider as module
from app.running.arriving import Person
from app.running.provider import Provider
from core.config import OidcConfig
from core.errors import ConfigError, ProviderError

CLIENT, NONCE = "ragstone", "the nonce of this login"


class Liar(ThreadingHTTPServer):
    """A provider of which each part of what it says can be changed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.key = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.reset()

    def reset(self) -> None:
        """Speak the truth again."""
        now = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": self.issuer, "sub": "248289761001", "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": NONCE,
            "preferred_username": "ann", "groups": ["staff"],
        }  # fmt: skip
        self.about: dict[str, Any] = {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }  # fmt: skip
        self.keys = [self.key.as_dict(private=False)]
        self.userinfo: dict[str, Any] = {}
        self.status = 200
        self.sign: Callable[[dict[str, Any]], str] = lambda claims: signed(claims, self.key)
        self.asked: list[tuple[str, dict[str, list[str]]]] = []

    def says(self, path: str) -> Any:
        """What is answered."""
        if path == "/token":
            return {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": self.sign(self.claims)}
        return {
            "/.well-known/openid-configuration": self.about, "/keys": {"keys": self.keys}, "/userinfo": self.userinfo,
        }[path]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Liar  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        self.server.asked.append((self.path, parse_qs(body)))
        said = self.server.says(self.path)
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(said if isinstance(said, bytes) else json.dumps(said).encode())

    do_POST = do_GET

    def log_message(self, format: str, *_: Any) -> None:
        pass


def signed(claims: dict[str, Any], key: Any, alg: str = "RS256", **header: str) -> str:
    return jwt.encode({"alg": alg, "kid": "one"} | header, claims, key, algorithms=[alg])


@pytest.fixture(scope="module")
def server() -> Iterator[Liar]:
    with Liar() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def liar(server: Liar) -> Liar:
    server.reset()
    return server


def provider(liar: Liar, **more: Any) -> Provider:
    return Provider(OidcConfig(issuer=liar.issuer, client_id=CLIENT, client_secret="s&p+e%c ial", **more))


def come_back(of: Provider, nonce: str = NONCE, **came: str) -> Person:
    return asyncio.run(of.person({"code": "c"} | came, "http://127.0.0.1/login/oidc/done", nonce, "v" * 64))


def test_somebody_is_their_issuer_and_sub_and_called_by_a_claim(liar: Liar) -> None:
    liar.claims |= {"email": "boss@example.com", "name": "Ann Lee"}
    ann = come_back(provider(liar))
    assert (ann.who.issuer, ann.who.subject, ann.name, ann.groups) == (liar.issuer, "248289761001", "ann", ("staff",))
    assert come_back(provider(liar, name_claim="name")).name == "Ann Lee"
    del liar.claims["preferred_username"], liar.claims["name"]
    assert come_back(provider(liar)).name == "248289761001"


def test_the_code_is_exchanged_with_verifier_and_secret(liar: Liar) -> None:
    come_back(provider(liar))
    _, body = next(asked for asked in liar.asked if asked[0] == "/token")
    assert body["code_verifier"] == ["v" * 64]
    assert body["redirect_uri"] == ["http://127.0.0.1/login/oidc/done"]


def test_a_browser_is_sent_with_state_nonce_and_a_challenge(liar: Liar) -> None:
    url = asyncio.run(provider(liar).leads_to("http://127.0.0.1/login/oidc/done", "s", "n", "v" * 64))
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{liar.issuer}/authorize?tenant=a&")
    assert (query["state"], query["nonce"], query["code_challenge_method"]) == (["s"], ["n"], ["S256"])
    assert query["response_type"] == ["code"]
    assert "v" * 64 not in url
    assert "client_secret" not in url


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "of another login"}, {"nonce": None}, {"aud": "another app"}, {"aud": ["another app"]}, {"aud": []},
        {"aud": None}, {"iss": "https://sso.example.com"}, {"iss": None}, {"exp": 1}, {"exp": None}, {"iat": None},
        {"exp": "soon"}, {"nbf": 2**40}, {"iat": 2**40}, {"sub": ""}, {"sub": None}, {"sub": 7}, {"sub": ["a"]},
        {"sub": "x" * 256}, {"azp": "another app"}, {"aud": [CLIENT, "another app"]}, {"at_hash": "wrong"},
    ],
    ids=lambda lie: json.dumps(lie)[:40],
)  # fmt: skip
def test_a_token_that_is_not_for_this_login_lets_nobody_in(liar: Liar, lie: dict[str, Any]) -> None:
    liar.claims = {name: value for name, value in (liar.claims | lie).items() if value is not None}
    with pytest.raises(ProviderError):
        come_back(provider(liar))


def test_clocks_may_differ_by_less_than_a_minute(liar: Liar) -> None:
    now = int(time.time())
    liar.claims |= {"iat": now + 30, "nbf": now + 30, "exp": now - 30}
    assert come_back(provider(liar)).name == "ann"
    liar.claims |= {"exp": now - 120}
    with pytest.raises(ProviderError, match="expired"):
        come_back(provider(liar))


def test_several_audiences_are_fine_where_this_app_was_the_one_that_asked(liar: Liar) -> None:
    liar.claims |= {"aud": [CLIENT, "an api"], "azp": CLIENT}
    assert come_back(provider(liar)).name == "ann"


def by_hand(header: dict[str, str], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token that no library of good manners would make."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")]).decode()


def unsigned(claims: dict[str, Any]) -> str:
    return by_hand({"alg": "none", "kid": "one"}, claims, lambda _: b"")


def by_public_key(liar: Liar, claims: dict[str, Any]) -> str:
    """The old trick: what everybody may read as the secret of an HMAC."""
    secret = liar.key.as_pem(private=False)
    return by_hand({"alg": "HS256", "kid": "one"}, claims, lambda text: hmac.digest(secret, text, "sha256"))


@pytest.mark.parametrize("how", ["none", "hmac", "another key", "cut", "changed", "garbage", "encrypted", "empty"])
def test_a_token_that_no_key_of_the_provider_signed_lets_nobody_in(liar: Liar, how: str) -> None:
    other, good = jwk.RSAKey.generate_key(2048), signed(liar.claims, liar.key)
    head, _, signature = good.split(".")
    liar.sign = {
        "none": unsigned, "hmac": lambda claims: by_public_key(liar, claims),
        "another key": lambda claims: signed(claims, other), "cut": lambda _: good.rsplit(".", 1)[0] + ".",
        "changed": lambda claims: f"{head}.{signed(claims | {'sub': 'boss'}, other).split('.')[1]}.{signature}",
        "garbage": lambda _: "a.b.c", "encrypted": lambda _: "a.b.c.d.e", "empty": lambda _: "",
    }[how]  # fmt: skip
    with pytest.raises(ProviderError, match=r"none of its keys|no ID token"):
        come_back(provider(liar))


def test_a_key_that_encrypts_or_is_a_secret_signs_nothing(liar: Liar) -> None:
    secret = jwk.OctKey.generate_key(256, {"kid": "one"})
    liar.sign = lambda claims: signed(claims, secret, "HS256")
    liar.keys = [{**liar.keys[0], "use": "enc"}, secret.as_dict(private=True)]
    with pytest.raises(ProviderError, match="no key that signs"):
        come_back(provider(liar))


def test_a_token_cannot_bring_its_own_key(liar: Liar) -> None:
    other = jwk.RSAKey.generate_key(2048)
    liar.sign = lambda claims: jwt.encode({"alg": "RS256", "jwk": other.as_dict(private=False)}, claims, other)
    with pytest.raises(ProviderError, match="none of its keys"):
        come_back(provider(liar))


@pytest.mark.parametrize("alg", ["ES256", "PS256", "EdDSA"])
def test_the_usual_kinds_of_keys_are_known_and_one_that_is_not_hurts_nobody(liar: Liar, alg: str) -> None:
    key = {
        "ES256": lambda: jwk.ECKey.generate_key("P-256", {"kid": "two"}),
        "PS256": lambda: jwk.RSAKey.generate_key(2048, {"kid": "two"}),
        "EdDSA": lambda: jwk.OKPKey.generate_key("Ed25519", {"kid": "two"}),
    }[alg]()
    liar.keys = [{"kty": "AKP", "kid": "new"}, *liar.keys, key.as_dict(private=False)]
    liar.sign = lambda claims: signed(claims, key, alg, kid="two")
    assert come_back(provider(liar)).name == "ann"


def test_keys_that_change_are_fetched_again_but_not_for_each_stranger(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = provider(liar)
    assert come_back(of).name == "ann"
    new = jwk.RSAKey.generate_key(2048, {"kid": "two"})
    liar.keys, liar.sign = [new.as_dict(private=False)], lambda claims: signed(claims, new, kid="two")
    with pytest.raises(ProviderError, match="none of its keys"):  # it has just been asked
        come_back(of)
    monkeypatch.setattr(module, "_KEYS_AGAIN_S", 0.0)
    assert come_back(of).name == "ann"


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"issuer": "https://sso.example.com"}, "calls itself"), ({"issuer": None}, "calls itself"),
        ({"token_endpoint": "http://sso.example.com/token"}, "no https address as token_endpoint"),
        ({"jwks_uri": None}, "no https address as jwks_uri"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no https address as authorization_endpoint"),
        ({"code_challenge_methods_supported": ["plain"]}, "no PKCE by S256"),
    ],
    ids=["issuer", "no issuer", "plain", "no keys", "script", "no pkce"],
)  # fmt: skip
def test_a_provider_that_is_another_or_speaks_in_the_clear_is_not_used(
    liar: Liar, lie: dict[str, Any], told: str
) -> None:
    liar.about |= lie
    with pytest.raises(ProviderError, match=told):
        asyncio.run(provider(liar).leads_to("http://127.0.0.1/x", "s", "n", "v" * 64))


def test_a_code_of_another_issuer_is_not_taken_to_this_one(liar: Liar) -> None:
    with pytest.raises(ProviderError, match="another issuer"):
        come_back(provider(liar), iss="https://evil.example")
    assert come_back(provider(liar), iss=liar.issuer).name == "ann"
    liar.about["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(ProviderError, match="without its issuer"):
        come_back(provider(liar))
    assert [asked for asked in liar.asked if asked[0] == "/token"].__len__() == 1


def test_groups_are_asked_for_where_the_token_has_none_and_of_the_same_person_only(liar: Liar) -> None:
    del liar.claims["groups"]
    liar.userinfo = {"sub": "248289761001", "groups": ["admins"], "iss": "x", "nonce": "x"}
    assert come_back(provider(liar)).groups == ("admins",)
    liar.userinfo = {"sub": "somebody else", "groups": ["admins"]}
    assert come_back(provider(liar)).groups == ()
    liar.claims["groups"] = ["staff"]
    liar.userinfo = {"sub": "248289761001", "groups": ["admins"], "sub2": 1}
    assert come_back(provider(liar)).groups == ("staff",)  # what was signed comes first


@pytest.mark.parametrize(
    ("claims", "of", "groups"),
    [
        ({"realm_access": {"roles": ["a", "b"]}}, "realm_access.roles", ("a", "b")),
        ({"https://x.example/roles": ["a"]}, "https://x.example/roles", ("a",)),
        ({"groups": "one"}, "groups", ("one",)),
        ({"groups": ["a", 7, None, {"b": 1}]}, "groups", ("a",)), ({"groups": {"a": 1}}, "groups", ()),
        ({"groups": None, "_claim_names": {"groups": "src1"}}, "groups", ()),
        ({"realm_access": 7}, "realm_access.roles", ()),
    ],
    ids=["path", "dots", "one", "mixed", "object", "overage", "no path"],
)  # fmt: skip
def test_where_groups_stand(liar: Liar, claims: dict[str, Any], of: str, groups: tuple[str, ...]) -> None:
    liar.claims |= claims
    assert come_back(provider(liar, groups_claim=of)).groups == groups


def test_a_provider_that_is_away_is_told_so(liar: Liar) -> None:
    of = Provider(OidcConfig(issuer="http://127.0.0.1:9", client_id=CLIENT))
    with pytest.raises(ProviderError, match="does not answer") as told:
        asyncio.run(of.check())
    assert told.value.away
    liar.status = 503
    with pytest.raises(ProviderError) as told:
        asyncio.run(provider(liar).check())
    assert told.value.away


def test_what_a_provider_says_that_is_no_token_is_told(liar: Liar) -> None:
    of = provider(liar)
    asyncio.run(of.check())
    liar.says = lambda path: b"<html>" if path == "/token" else Liar.says(liar, path)  # type: ignore[method-assign]
    try:
        with pytest.raises(ProviderError, match="no token") as told:
            come_back(of)
        liar.says = lambda path: {"error": "invalid_grant"} if path == "/token" else Liar.says(liar, path)  # type: ignore[method-assign]
        with pytest.raises(ProviderError, match="refuses the code: invalid_grant") as told:
            come_back(of)
    finally:
        del liar.says
    assert "s&p+e%c ial" not in str(told.value)


def test_nothing_is_asked_before_somebody_logs_in(liar: Liar) -> None:
    of = provider(liar)
    of.check_installed()
    assert liar.asked == []


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "authlib.oidc.core", None)
    with pytest.raises(ConfigError, match="authlib") as told:
        Provider(OidcConfig(issuer="https://sso.example.com", client_id=CLIENT)).check_installed()
    assert "ragstone[office]" in told.value.hint


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"client_id": ""}, "client_id"), ({"scopes": ["profile"]}, "openid")],
    ids=["client", "scopes"],
)
def test_what_must_be_set_is_said_before_the_app_starts(wrong: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"issuer": "https://sso.example.com", "client_id": CLIENT}
    with pytest.raises(ConfigError, match=told):
        Provider(OidcConfig(**given | wrong)).check_installed()
