"""Two things that a question compares, each of which is searched for by itself too; told by its words."""

import re

_THING = r"[^,，。？?!！；;]{1,60}?"
_END = r"\s*(?:[,，。？?!！；;]|\.(?:\s|$)|$)"
_PATTERNS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:differences?|distinction|comparison) between ({_THING}) and ({_THING}){_END}",
        rf"\bcompare[sd]? ({_THING}) (?:and|with|to|against) ({_THING}){_END}",
        rf"\b(?:differs?|different) from ({_THING}) (?:and|or) ({_THING}){_END}",
        rf"\bdo(?:es)? ({_THING}) (?:compare|differ) (?:to|with|from) ({_THING}){_END}",
        rf"\bwhich (?:of|is) [^,，]{{1,40}}[,，:：] ({_THING}) or ({_THING}){_END}",
        rf"(?:比较|对比|请问|^)(?:一下)?({_THING})(?:和|与|跟|同|还是|以及)({_THING})(?:之间)?(?:在[^，。？?]{{1,15}}上)?"
        r"(?:的|有)?(?:什么|哪些|何|怎么|有什么|有何|多大)?(?:区别|不同|差别|差异|比较|对比|相比|哪个|哪种|谁更)",
        rf"(?:比较|对比)(?:一下)?({_THING})(?:和|与|跟|同|以及)({_THING})(?:[，。？?！]|$)",
    )
]


def compared(question: str) -> tuple[str, ...]:
    """The two things that a question compares; nothing where it compares none.

    >>> compared("LT-300 和 LT-520 的保修期有什么区别？"), compared("What is the difference between AAS and ICP?")
    (('LT-300', 'LT-520 的保修期'), ('AAS', 'ICP'))
    """
    for pattern in _PATTERNS:
        if match := pattern.search(question[:500]):
            things = tuple(" ".join(thing.split()) for thing in match.groups())
            if all(any(map(str.isalnum, thing)) for thing in things):
                return things
    return ()
