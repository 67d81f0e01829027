"""Where things are that nobody placed: in the checkout or, where the package is installed, in the user's folder."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_CHECKOUT = (ROOT / "pyproject.toml").is_file()
_OWN = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ragstone"
HOME = ROOT if _CHECKOUT else _OWN
DEFAULTS = ROOT / "config.toml" if _CHECKOUT else Path(__file__).with_name("config.toml")  # every setting, explained
