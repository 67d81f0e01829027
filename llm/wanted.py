"""What kind of thing a question asks for, in Chinese and English, and whether a text holds one."""

import re
from typing import Literal

Kind = Literal["number", "time", "person", "place", "list", "definition", "reason"]

_HOW = "many|much|long|old|often|far|tall|high|large|big|fast|deep|wide|heavy|late|early|soon"
_AMOUNTS = "percentage|percent|proportion|number|amount|price|share|rate|temperature|population|size"
_PLACES = "city|country|state|place|town|region|area|building|room|river|continent"
_ASKS: dict[Kind, tuple[str, ...]] = {
    "time": (
        "什么时[候间]|何时|几时|几点|哪一?[年天月日]|[几何]年|几月|几号|多会儿|日期|年份|什么年代|哪个世纪",
        r"\bwhen\b|\b(?:what|which) (?:exact )?(?:year|date|day|month|times?|decade|century|season)\b",
    ),
    "number": (
        "多少|[^好第]几[^乎]|^几|第几|多[长久大高远重快深宽厚早晚]|百分之|比例|比率|价格|人口|年龄|面积",
        rf"\bhow (?:{_HOW})\b|\b(?:what|which) (?:{_AMOUNTS})\b|\b(?:up to|at) what\b",
    ),
    "person": (
        "谁|何人|哪[位名]|什么人|哪个人",
        r"\bwho(?:m|se)?\b|\b(?:what|which) (?:person|man|woman|scientist|player|king)\b",
    ),
    "place": (
        "哪里|哪儿|何处|何地|在哪|哪个(?:国家|城市|省|市|县|地方|州|区)|什么地方|位于",
        rf"\bwhere\b|\b(?:what|which) (?:{_PLACES})\b",
    ),
    "list": (
        "哪些|哪几|包括|有哪|几种|几类|分为|都有什么|步骤|流程",
        r"\bwhat (?:are|were)\b|\bwhich (?:\w+ ){0,3}are\b|\blist\b",
        r"\bname (?:the|all|some)\b|\bsteps?\b|\b(?:kinds|types) of\b",
    ),
    "definition": (
        "什么是|是什么|何谓|是指|指的是|什么意思|含义|定义|何为|又称|叫做?什么|称为什么",
        r"^what(?:'s| is| are| was| were) (?:an? |the )?[\w\- ]{2,40}\?",
        r"\bmean(?:t|ing)?\b|\bdefin|\bstands? for\b|\bcalled\b",
    ),
    "reason": ("为什么|为何|为啥|原因|怎么回事|缘故", r"\bwhy\b|\breason\b|\bwhat caused?\b"),
}
_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundreds? thousands? millions? billions? "
    "half third quarter twice dozens? percent"
).replace(" ", "|")
_MONTHS = "january|february|march|april|june|july|august|september|october|november|december"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_HAN = "\u3400-\u9fff"
_SURNAMES = (  # the most common ones, of three quarters of all
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶"
    "阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
_HOLDS: dict[Kind, tuple[str, ...]] = {
    "number": (
        r"\d|百分之|第[一二三四五六七八九十百]",
        "[零一二三四五六七八九十百千万亿两半][十百千万亿个名位人次年月日天时分秒元岁米里公吨倍成家所座条种类项部集章]",
        rf"\b(?i:{_NUMBERS})\b",
    ),
    "time": (
        r"\d{3,4}|\d+\s*[年月日号点时:：]|[一二三四五六七八九十〇零]+[年月日号点]|世纪|年代",
        "[周星][期一二三四五六日天]|每[年月周天日]|昨|今年|去年|当天|早[晨上]|[上下中]午",
        rf"\bMay\b|\b(?i:{_MONTHS}|{_DAYS}|centur\w+|decades?|ago|morning|noon|evening|night|midnight)\b",
        r"\b\d{1,2}(?::\d\d| ?[ap]\.?m\b)|\b(?i:daily|weekly|monthly|yearly)\b",
    ),
    "person": (
        r"[A-Z][\w'’.-]+ (?:(?:de|van|von|der|al|of|the) )?[A-Z][\w'’-]+|\b(?:Mr|Mrs|Ms|Dr|King|Queen|Sir)\b",
        rf"[{_SURNAMES}][{_HAN}]{{1,2}}|[{_HAN}]·[{_HAN}]|先生|女士|经理|主任|部门|总监|负责人|教授|博士",
    ),
    "place": (
        rf"位于|[{_HAN}][省市县区国州镇村港岛山河湖路街楼室厅场站]|[东南西北]",
        r"\b(?:in|at|on|near|to|from) (?:the )?[A-Z]",
        r"\b(?:room|floor|building|street|river|city|north|south|east|west)\b",
    ),
    "list": (
        "、[^。]{1,30}、|、[^。]{1,20}[和及与或]|：|分别|包括|[;；]",
        r",[^.]{1,60},|,? and |\binclud|\bsuch as\b",
    ),
    "definition": (
        rf"[{_HAN}”》）)]\s*(?:是|即|指|为|叫|称|又名)",
        r"\b(?:is|are|was|were) (?:an?|the)\b|\bmeans?\b|\brefers? to\b|\bcalled\b|\bknown as\b",
    ),
    "reason": (
        "因为|由于|因此|所以|因而|为了|使得|导致|以便|因[^此而]",
        r"\b(?i:because|due to|since|therefore|so that|in order to|as a result|to avoid|caus\w+)\b",
    ),
}
_ASKED: dict[Kind, re.Pattern[str]] = {
    kind: re.compile("|".join(patterns), re.IGNORECASE) for kind, patterns in _ASKS.items()
}
_HELD = {kind: re.compile("|".join(patterns)) for kind, patterns in _HOLDS.items()}
_ASKING = re.compile(
    rf"\b(?:how (?:{_HOW})|by when|when|who|what (?:does|do|did|is|are)|does|did|do)\b"
    "|请问|多少|什么时[候间]|为什么|有哪些|哪些|是什么|怎么",
    re.IGNORECASE,
)


def wanted(question: str) -> list[Kind]:
    """The kinds of things that a question asks for, none where it does not say.

    >>> wanted("年假有几天？"), wanted("Who signs, and by when?"), wanted("VPN")
    (['number'], ['time', 'person'], [])
    """
    return [kind for kind, pattern in _ASKED.items() if pattern.search(question)]


def holds(text: str, kind: Kind) -> bool:
    """Whether a text holds a thing of a kind.

    >>> holds("每年 15 天。", "number"), holds("Ask HR.", "time")
    (True, False)
    """
    return bool(_HELD[kind].search(text))


def about(question: str) -> str:
    """A question without the words that only ask, which no answer repeats; whole where nothing else is left.

    >>> about("How many days does it take?")
    'days it take?'
    """
    left = " ".join(_ASKING.sub(" ", question).split())
    return left if any(map(str.isalnum, left)) else question
