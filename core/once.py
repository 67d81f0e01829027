"""What is made at its first use and costs seconds or gigabytes, made once however many threads ask for it."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):
    """A `functools.cached_property` that one thread makes while the others wait; those of Python 3.12 on each make one.

    What raises is tried again at the next use.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "once[T] | T":
        if instance is None:
            return self
        own = vars(instance)
        with own.setdefault(f"{self._name} is made", threading.RLock()):
            if self._name not in own:
                own[self._name] = self._make(instance)
        return own[self._name]
