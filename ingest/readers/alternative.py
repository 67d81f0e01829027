"""The alternative text of a picture: what it tells those who cannot see it, where somebody wrote it for them.

Left out are marks of decoration, names of files and kinds ("logo", "Picture 3"), and what a program guessed: Office
says so in the text ("Description automatically generated", "AI-generated content may be incorrect"), in the language
that it was set to. Sources: ISO/IEC 29500-1, 20.1.2.2.8 (cNvPr); [MS-ODRAWXML], 2.25 (decorative).
"""

import re
from typing import TYPE_CHECKING

from ingest.readers.text import clean, collapse

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_LONGEST = 2000  # characters
# What names a picture and says nothing of its own: its kind, or its file.
_NO_INFORMATION = re.compile(
    r"(?:(?:company|site|our|the|header|footer|page|small|large|main|menu|search|close|back|next|social)\s+)?"
    r"(?:logos?|icons?|images?|img|pictures?|photos?|graphics?|figures?|fig|banner|thumbnail|avatar|spacer|placeholder|"
    r"arrows?|bullets?|emojis?|bilder|bild|foto|symbol|divider|background|decoration|screenshots?|untitled)(?:\s*\d*)"
    r"|.*\blogo|logo\b.*|[\w%() .-]+\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?)|[\W_]*"
    r"|.*(?:图标|图片|标志|徽标|照片|头像|图像)\d*",
    re.I | re.S,
)
_OF_OFFICE = re.compile(
    r"(?:[a-z]:)?[\\/].*|https?://\S+|.*\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?|emf|wmf)"
    r"|(?:text ?box|textfeld|grafik|chart|diagramm?|object|rectangle|oval|group|文本框|图表|组合|矩形|对象)\s*\d*"
    r"|(?:图|图片|图像|图形|截图|背景|装饰|配图|微信图片|屏幕截图)[\s\d_]*",
    re.I | re.S,
)
_GUESSED = re.compile(
    r"automatically generated|AI-?generated|automatisch generiert|KI-?generierte|généré automatiquement"
    r"|generada automáticamente|自动生成|自動生成|自動產生|AI\s*(?:生成|產生)",
    re.I,
)
_DECORATIVE = "{http://schemas.microsoft.com/office/drawing/2017/decorative}decorative"


def says_nothing(text: str) -> bool:
    """Whether an alternative text only names what it stands for, or a file."""
    return bool(_NO_INFORMATION.fullmatch(text))


def informative(text: str) -> str:
    """An alternative text of an Office document, on one line; "" where it tells nothing, or where a program guessed."""
    said = collapse(clean(text))[:_LONGEST]
    if not said or says_nothing(said) or _OF_OFFICE.fullmatch(said) or _GUESSED.search(said):
        return ""
    return said


def picture_text(about: "Element") -> str:
    """What the properties of a drawn object (`docPr`, `cNvPr`) say of it; "" for one that is hidden or decorative."""
    if about.get("hidden") in ("1", "true"):
        return ""
    mark = next(about.iter(_DECORATIVE), None)
    if mark is not None and mark.get("val", "1") not in ("0", "false"):
        return ""
    return informative(about.get("descr", "")) or informative(about.get("title", ""))
