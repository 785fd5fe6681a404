"""A table of named variants: one lookup, one message for an unknown name."""

from __future__ import annotations

from typing import Generic, TypeVar

from sigmoe._base.errors import InputError, invalid

T = TypeVar("T")


class Registry(Generic[T]):
    """Named items of one kind.

    Parameters
    ----------
    kind : str
        What the items are; it names the parameter in errors ("expert", "gate", ...).

    Examples
    --------
    >>> colours = Registry[int]("colour")
    >>> colours.register("red", 1)
    >>> colours.get("red")
    1
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str, item: T) -> None:
        """Add an item; a name that is taken is refused."""
        if name in self._items:
            raise invalid(f"{self.kind} name", "new", name, "Choose another name.")
        self._items[name] = item

    def unregister(self, name: str) -> None:
        """Remove an item, so that a test can clean up after itself."""
        self.get(name)
        del self._items[name]

    def get(self, name: object) -> T:
        """Return the item of that name, or raise InputError with the known names."""
        if isinstance(name, str) and name in self._items:
            return self._items[name]
        raise self.unknown(name)

    def unknown(self, name: object) -> InputError:
        """Return the error for a name that is not known."""
        known = ", ".join(repr(item) for item in self._items)
        return invalid(self.kind, f"one of {known}", name, "Choose one of these names.")

    def names(self) -> tuple[str, ...]:
        """Return the names in the order in which they were registered."""
        return tuple(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items
