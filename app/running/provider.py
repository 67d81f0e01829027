"""A provider of OpenID Connect: where a person is sent, and who they are once they come back with a code.

The authorization code flow with PKCE (RFC 7636), state and nonce, as OpenID Connect Core 1.0 has it. What the provider
says of itself and its keys is fetched when somebody logs in, and kept for a while; nothing is before.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from app.running.accounts import Identity
from app.running.arriving import Person
from core.config import OidcConfig
from core.errors import ConfigError, ProviderError
from core.places import is_safe

if TYPE_CHECKING:
    from httpx2 import AsyncClient

log = logging.getLogger(__name__)

# Signed by a key of which only the public half is known here: a token "signed" with that half by HS256, or by none, is
# nobody's.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_KINDS = ("RSA", "EC", "OKP")
_SKEW_S = 60  # that clocks may differ
_KEPT_S = 3600.0
_KEYS_AGAIN_S = 10.0  # a token of a key that is not known has the keys fetched again, no more often than this
_TIMEOUT_S = 10.0
_LARGEST = 2**20  # bytes of a document


@dataclass(frozen=True, slots=True)
class _Known:
    """What a provider says of itself, and its keys, with when they were fetched (monotonic)."""

    said: Mapping[str, Any]
    keys: tuple[Mapping[str, Any], ...]
    at: float


class Provider:
    """The provider of `[oidc]`."""

    def __init__(self, cfg: OidcConfig) -> None:
        self.cfg = cfg
        self.issuer = cfg.issuer
        self._known: _Known | None = None

    def check_installed(self) -> None:
        """Raise `ConfigError` where the package is missing, or what must be set is not."""
        try:
            import authlib.oidc.core  # noqa: F401
            import httpx2  # noqa: F401
        except ImportError:
            raise ConfigError(
                "accounts of OpenID Connect need the package authlib, which is not installed",
                "install it: pip install 'ragstone[office]'",
            ) from None
        if not self.cfg.client_id:
            raise ConfigError("oidc.issuer is set, and oidc.client_id is not", "register the app at the provider")
        if "openid" not in self.cfg.scopes:
            raise ConfigError("oidc.scopes has no 'openid'", "without it the provider does not say who somebody is")

    @property
    def label(self) -> str:
        """What the button that leads there says; "" for nothing of its own."""
        return self.cfg.label

    @property
    def host(self) -> str:
        """The provider's host."""
        return urlsplit(self.issuer).hostname or ""

    async def leads_to(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where a person is sent to log in. Raises `ProviderError`."""
        said = (await self._about()).said
        async with self._client(said, redirect_uri) as client:
            url, _ = client.create_authorization_url(
                said["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        return url

    async def leaves_by(self, back_to: str) -> str:
        """Where a person who logged out here is sent to do so there; "" where that is not offered, or it is away."""
        try:
            end = (await self._about()).said.get("end_session_endpoint")
        except ProviderError as error:
            log.warning("%s", error)
            return ""
        if not isinstance(end, str) or not is_safe(end):
            return ""
        asked = {"client_id": self.cfg.client_id, "post_logout_redirect_uri": back_to}
        return f"{end}{'&' if '?' in end else '?'}{urlencode(asked)}"

    async def person(self, came: Mapping[str, str], redirect_uri: str, nonce: str, verifier: str) -> Person:
        """Who came back with a code. Raises `ProviderError` where the provider does not vouch for them."""
        from authlib.common.errors import AuthlibBaseError
        from httpx2 import HTTPError

        about = await self._about()
        if came.get("iss", self.issuer) != self.issuer:  # RFC 9207: the code is another provider's
            raise ProviderError("the code was given by another issuer", "log in again")
        if about.said.get("authorization_response_iss_parameter_supported") is True and "iss" not in came:
            raise ProviderError("the code came without its issuer, which the provider always names", "log in again")
        try:
            async with self._client(about.said, redirect_uri) as client:
                token = await client.fetch_token(
                    about.said["token_endpoint"], code=came.get("code", ""), code_verifier=verifier
                )
                claims = await self._checked(token, nonce)
                if self._lacks(claims) and isinstance(about.said.get("userinfo_endpoint"), str):
                    claims = await self._with_more(client, about.said["userinfo_endpoint"], claims)
        except AuthlibBaseError as error:
            raise ProviderError(f"the provider refuses the code: {error.error}", "log in again") from error
        except (HTTPError, OSError) as error:
            raise _away(self.issuer, error) from error
        except ValueError as error:
            raise ProviderError("the provider answers a code with what is no token", "see its log") from error
        return self._person(claims)

    async def check(self) -> str:
        """Whether the provider can be reached and has what is needed; what was seen, for doctor."""
        about = await self._about()
        end = "" if about.said.get("end_session_endpoint") else "; offers no logout"
        return f"{self.issuer}, keys that sign: {len(about.keys)}{end}"

    # --- what the provider says of itself ----------------------------------------------------------------------------

    async def _about(self, *, keys_after: float = 0.0) -> _Known:
        """What is known of the provider; fetched where that is old, or older than `keys_after` (monotonic)."""
        from httpx2 import AsyncClient, HTTPError

        known, now = self._known, time.monotonic()
        if known and now - known.at < _KEPT_S and known.at >= keys_after:
            return known
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S), AsyncClient(timeout=_TIMEOUT_S) as client:
                said = await _document(client, f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
                self._check(said)
                keys = (await _document(client, said["jwks_uri"])).get("keys")
        except (HTTPError, TimeoutError) as error:
            raise _away(self.issuer, error) from error
        usable = [key for key in keys if _is_usable(key)] if isinstance(keys, list) else []
        if not usable:
            raise ProviderError(f"the provider {self.issuer} shows no key that signs", "see its jwks_uri")
        self._known = _Known(said, tuple(usable), now)
        return self._known

    def _check(self, said: Mapping[str, Any]) -> None:
        if said.get("issuer") != self.issuer:
            raise ProviderError(
                f"the provider at {self.issuer} calls itself {str(said.get('issuer'))[:200]!r}",
                "set oidc.issuer to that, exactly, if that is who you mean",
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(said.get(name), str) or not is_safe(said[name]):
                raise ProviderError(f"the provider {self.issuer} names no https address as {name}", "see its document")
        methods = said.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise ProviderError(f"the provider {self.issuer} has no PKCE by S256", "switch it on there")

    def _client(self, said: Mapping[str, Any], redirect_uri: str) -> Any:
        """An `AsyncOAuth2Client`, which is an httpx2 client; authlib does not type it as one."""
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        how = "client_secret_post" if "client_secret_basic" not in methods else "client_secret_basic"
        # Without leeway, by which an access token that lasts a minute, as Keycloak gives, would never be used.
        return AsyncOAuth2Client(
            self.cfg.client_id, self.cfg.client_secret or None, scope=" ".join(self.cfg.scopes),
            token_endpoint_auth_method=how if self.cfg.client_secret else "none", redirect_uri=redirect_uri,
            code_challenge_method="S256", leeway=0, timeout=_TIMEOUT_S, follow_redirects=False,
        )  # fmt: skip

    # --- who somebody is ---------------------------------------------------------------------------------------------

    async def _checked(self, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """The claims of an ID token, once signature, issuer, audience, times and nonce are right."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        written = token.get("id_token")
        if not isinstance(written, str):
            raise ProviderError("the provider gave no ID token", "oidc.scopes needs 'openid'")
        header, claims = await self._signed(written)
        wanted = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self.cfg.client_id},
        }
        params = {"nonce": nonce, "client_id": self.cfg.client_id, "access_token": token.get("access_token")}
        try:
            CodeIDToken(claims, header, wanted, params).validate(leeway=_SKEW_S)
        except (JoseError, ValueError, TypeError) as error:
            raise ProviderError(f"the provider's ID token is not for this login: {error}", "log in again") from error
        if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
            raise ProviderError("the provider's ID token does not say who somebody is", "see its claim 'sub'")
        return claims

    async def _signed(self, written: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Header and claims of a token that a key of the provider signed; its keys are fetched again for a new one."""
        about = await self._about()
        found = _verified(written, about.keys)
        if found is None and time.monotonic() - about.at > _KEYS_AGAIN_S:
            found = _verified(written, (await self._about(keys_after=time.monotonic())).keys)
        if found is None:
            raise ProviderError("the provider's ID token is signed by none of its keys", "log in again")
        return found

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        named = any(_claim(claims, name) for name in (self.cfg.name_claim, "preferred_username", "name"))
        return not named or _claim(claims, self.cfg.groups_claim) is None

    async def _with_more(self, client: Any, url: str, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims, with those that the provider keeps at its userinfo endpoint."""
        if not is_safe(url):
            return claims
        reply = await client.get(url)
        more = reply.json() if reply.status_code == 200 and len(reply.content) <= _LARGEST else {}
        if not isinstance(more, dict) or more.get("sub") != claims["sub"]:  # OpenID Connect Core 5.3.2
            return claims
        return {**more, **claims}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        named = (_claim(claims, name) for name in (self.cfg.name_claim, "preferred_username", "name", "sub"))
        name = next(value for value in named if isinstance(value, str) and value)
        listed = _claim(claims, self.cfg.groups_claim)
        groups = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
        who = Identity("oidc", self.issuer, claims["sub"])
        return Person(who, name[:200], tuple(group for group in groups if isinstance(group, str)))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path of names with dots between them."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _verified(written: str, keys: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], dict[str, Any]] | None:
    """Header and claims of a token, where one of the keys signed it."""
    from joserfc import jwk, jws, jwt
    from joserfc.errors import JoseError

    try:
        kid = jws.extract_compact(written.encode()).headers().get("kid")
    except (JoseError, ValueError):
        return None
    for key in keys:
        if kid is not None and key.get("kid") not in (None, kid):
            continue
        try:
            token = jwt.decode(written, jwk.import_key(dict(key)), algorithms=_ALGORITHMS)
        except (JoseError, ValueError, TypeError):  # another key, another algorithm, another kind of key
            continue
        return token.header, dict(token.claims)
    return None


def _is_usable(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in _KINDS and key.get("use", "sig") == "sig"


async def _document(client: "AsyncClient", url: str) -> dict[str, Any]:
    """A JSON object, which a provider shows to everybody. Raises `ProviderError`, and httpx2's own errors."""
    reply = await client.get(url)
    if reply.status_code >= 500:
        raise ProviderError(f"{url} answers {reply.status_code}", "try again in a while", away=True)
    try:
        read = reply.json() if reply.status_code == 200 and len(reply.content) <= _LARGEST else None
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise ProviderError(f"{url} is no document of a provider ({reply.status_code})", "check oidc.issuer")
    return read


def _away(issuer: str, error: Exception) -> ProviderError:
    why = str(error)[:200] or type(error).__name__
    return ProviderError(f"the provider {issuer} does not answer: {why}", "try again in a while", away=True)
