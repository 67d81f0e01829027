"""Whether a question can be searched alone, or says something only behind the one before it; told by its words."""

import re

from core.text import fold, keywords

_VERBS = "is|was|are|were|do|does|did|apply|applies|also|means?|include|takes?|costs?|go|limit|rule|case|ones?"
_BEFORE = "approves?|allows?|about|for|of|than|like|does|is|do|after|before|with|to"
# What points back: a pronoun, unless what it stands for is named in a clause before it.
_BACK = re.compile(
    r"\b(?:it|its|they|them|theirs?|he|she|his|her)\b"
    rf"|\b(?:this|that|these|those)\b(?= *(?:$|[?.,!]|(?:{_VERBS})\b))"
    rf"|\b(?:{_BEFORE}) (?:this|that|these|those)\b|\bthe same\b"
    r"|\b(?:the|that|which|get|have|need|want|use|buy|order|for|of) ones?\b(?! \w)|\bget one\b"
    "|它|(?<!其)他(?!人)|她|这(?!次|里有)|(?<!应)(?<!就)该(?![怎如找去由不])|其(?![他中实余])|(?<!因)(?<!彼)此(?!外)|上述|同样"
)
# What only goes on with the earlier question.
_GOES_ON = re.compile(r"^(?:and|or|also|but|so|what about|how about|what if)\b|呢[？?]*$|^(?:还有|以及|另外)")
_AND_IS_THERE = re.compile(
    r"\b(?:is|are|was|were) (?:there|it)\b(?= \w+ to\b| an?\b| any\b|(?: \w+)? (?:in|on|at)\b)|\bit is\b"
)
_CLAUSE = re.compile("[,，;；。.?？]")
_BEGINNING = re.compile(r"^(?:那么?|请问|好的?|ok(?:ay)?|and|or|also|but|so|what about|how about)[，, ]*")
# Words that ask or serve, and say nothing of what a question is about.
_SERVING = frozenset(
    "long much mani often far soon need get take use appli cost happen time day give go make mean want start tell ask"
    " valid allow approv must may"
    .split()
)  # fmt: skip
_SERVING_ZH = re.compile(
    "多久|多少|多长|多大|什么|怎么样?|怎样|如何|为什么|哪[里儿些个]|在哪|几[天次个点号家页年月]|最[多少高低长迟早晚]|上限|下限|标准"
    "|可以|需要|必须|应该|是否|能不能|有没有|期间|时候|时间|谁|吗|呢|的|了|要|能|会|在|由|批|办|有|是|内|跟进|签到|超时|没"
)


def stands_alone(question: str) -> bool:
    """Whether a question says what it is about without the conversation before it.

    >>> stands_alone("打印机卡纸怎么办？"), stands_alone("最多几天？"), stands_alone("And in Rotterdam?")
    (True, False, False)
    """
    text = fold(question).strip()
    back = _BACK.search(_AND_IS_THERE.sub(" ", text))
    clause = _CLAUSE.split(text[: back.start()])[:-1] if back else []
    if back and _content(" ".join(clause)) < 1:
        return False
    own = _content(_BEGINNING.sub("", text))
    return own >= (3 if _GOES_ON.search(text) else 1)


def _content(text: str) -> int:
    """How many words of a text say what it is about; of Chinese, two characters are one."""
    words = [word for word in keywords(text) if word.isascii() and word not in _SERVING]
    chinese = sum(c > "\u2e7f" and c.isalnum() for c in _SERVING_ZH.sub("", text))
    return len(words) + chinese // 2
