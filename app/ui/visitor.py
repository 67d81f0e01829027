"""Whom a page is shown to: the language it speaks to them."""

from typing import Any

from app.texts import Tongue, tongue_of

LANGUAGE_COOKIE = "ragstone_language"


def tongue(request: Any) -> Tongue:
    """The language that was chosen on the page, else the browser's first."""
    chosen = request.cookies.get(LANGUAGE_COOKIE) if request.cookies else None
    return "zh" if chosen == "zh" else "en" if chosen == "en" else tongue_of(request.headers.get("accept-language"))
