"""Where things are that nobody placed: in the checkout or, where the package is installed, in the user's folder; and
which addresses are this machine's.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
_CHECKOUT = (ROOT / "pyproject.toml").is_file()
_OWN = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ragstone"
HOME = ROOT if _CHECKOUT else _OWN
DEFAULTS = ROOT / "config.toml" if _CHECKOUT else Path(__file__).with_name("config.toml")  # every setting, explained


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe(url: str) -> bool:
    """Whether what is sent to an address of the web cannot be read on the way there: by TLS, or within this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def installed_version() -> str:
    """The version of the installed package; "unknown" where it runs from files that nobody installed."""
    try:
        return version("ragstone")
    except PackageNotFoundError:
        return "unknown"
