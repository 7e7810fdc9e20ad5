"""The base of every value that travels between the stages: frozen, named fields, cheap to define.

Twelve frozen dataclasses cost 20 ms at start-up, twelve of these 1.3 ms, and jai is typed before
every command.  Type checkers see them as frozen dataclasses (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, dataclass_transform
else:

    def dataclass_transform(**_options):  # noqa: ANN003, ANN201 - a stand-in, never called by a user
        """Stand in for the decorator that only type checkers need."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen value whose fields are the annotations of its class, in order."""

    _fields: tuple[str, ...] = ()
    _names: frozenset[str] = frozenset()
    _required: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """Collect the fields; a field with a class attribute of its name has that as default."""
        own = cls.__dict__.get("__annotations__")
        names = cls.__annotations__ if own is None else own
        cls._fields = cls._fields + tuple(name for name in names if not name.startswith("_"))
        cls._names = frozenset(cls._fields)
        cls._required = tuple(name for name in cls._fields if not hasattr(cls, name))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the fields by position or by name."""
        fields = self._fields
        if len(args) > len(fields):
            message = f"{type(self).__name__} takes {len(fields)} fields, got {len(args)}"
            raise TypeError(message)
        values = self.__dict__
        values.update(zip(fields, args))
        values.update(kwargs)
        if len(values) < len(args) + len(kwargs) or not self._names.issuperset(kwargs):
            name = next(each for each in kwargs if each not in fields or each in fields[: len(args)])
            message = f"{type(self).__name__}: unexpected or repeated field {name!r}"
            raise TypeError(message)
        if len(values) < len(fields):
            for name in self._required:
                if name not in values:
                    message = f"{type(self).__name__}: field {name!r} is missing"
                    raise TypeError(message)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a record does not change."""
        message = f"{type(self).__name__} is frozen"
        raise AttributeError(message)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        """Equal when of one type and equal in every field."""
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        """Hash like the tuple of the fields."""
        return hash(self._values())

    def __repr__(self) -> str:
        """Show the fields by name."""
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({inner})"

    def replace(self, **changes: Any) -> Any:
        """Give a copy with some fields changed."""
        values = {name: getattr(self, name) for name in self._fields}
        values.update(changes)
        return type(self)(**values)
