"""Tables of a TOML file, read strictly into frozen dataclasses.

Each field states its rule once, in the metadata of the dataclass field; the check, the message
and the tests' bad values all come from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar

from sigmoe._base.constraints import Constraint, Interval
from sigmoe._base.errors import invalid

T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """A non-empty string of one line."""

    rule: str = "a non-empty text of one line"

    def accepts(self, value: object) -> bool:
        """Return whether the value is such a string."""
        return isinstance(value, str) and bool(value.strip()) and "\n" not in value

    def bad_values(self) -> Iterator[object]:
        """Yield values that must be refused."""
        yield from ("", "  ", "two\nlines", 3, None)


@dataclass(frozen=True)
class Each:
    """A non-empty list, each item of which obeys a rule and occurs once."""

    item: Constraint

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        return f"a non-empty list without repetition, each {self.item.rule}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is such a list."""
        return (
            isinstance(value, (list, tuple))
            and len(value) > 0
            and all(self.item.accepts(item) for item in value)
            and len(set(value)) == len(value)
        )

    def bad_values(self) -> Iterator[object]:
        """Yield values that must be refused."""
        yield from ([], None, 1)
        for bad in self.item.bad_values():
            yield [bad]


@dataclass(frozen=True)
class Listed:
    """A non-empty list, each item of which obeys a rule; unlike in `Each`, items may repeat."""

    item: Constraint

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        return f"a non-empty list, each {self.item.rule}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is such a list."""
        return (
            isinstance(value, (list, tuple))
            and len(value) > 0
            and all(self.item.accepts(item) for item in value)
        )

    def bad_values(self) -> Iterator[object]:
        """Yield values that must be refused."""
        yield from ([], None, 1)
        for bad in self.item.bad_values():
            yield [bad]


def item(rule: Constraint, remedy: str) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field that holds a value obeying the rule."""
    return {"rule": rule, "remedy": remedy}


def table(kind: type) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field that holds a sub-table."""
    return {"table": kind}


def tables(kind: type) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field that holds a non-empty array of tables."""
    return {"tables": kind}


def named(kind: type) -> Mapping[str, Any]:
    """Return the metadata of a field that holds tables by name, as a tuple of (name, table)."""
    return {"named": kind}


def build(kind: type[T], data: object, source: str, path: str = "") -> T:
    """Return the dataclass filled from a table.

    Parameters
    ----------
    kind : type
        A dataclass whose fields have metadata from `item`, `table`, `tables` or `named`.
    data : object
        What the file holds at that place; must be a table.
    source : str
        Name of the file, for errors.
    path : str
        Where in the file the table stands, such as ``panels[0]``.

    Raises
    ------
    InputError
        For an unknown or missing key, a wrong type or a value out of range, naming the file, the
        key, the rule, the value and the remedy.
    """
    if not isinstance(data, Mapping):
        raise invalid(_where(source, path), "a table", data, "Write it as [name] with keys.")
    # Every kind is a dataclass, which a type variable cannot say.
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            known = ", ".join(fields)
            remedy = "Correct its spelling or remove it."
            raise invalid(f"{source}: a key of {path or 'the study'}", f"in {known}", key, remedy)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        inner = f"{path}.{name}" if path else name
        if name in data:
            values[name] = _read(field.metadata, data[name], source, inner)
        elif field.default is MISSING:
            raise invalid(_where(source, inner), "given", None, f"Add {name!r} to the file.")
    return kind(**values)


def as_table(value: Any) -> Any:
    """Return a built dataclass as plain tables and lists again, the inverse of `build`."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(field.metadata, getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) is not None
        }
    return value


def _plain(metadata: Mapping[str, Any], value: Any) -> Any:
    if "named" in metadata:
        return {name: as_table(entry) for name, entry in value}
    if isinstance(value, tuple):
        return [as_table(entry) for entry in value]
    return as_table(value)


def _read(metadata: Mapping[str, Any], value: object, source: str, path: str) -> object:
    if "table" in metadata:
        return build(metadata["table"], value, source, path)
    if "tables" in metadata:
        if not isinstance(value, list) or not value:
            remedy = f"Write each as [[{path}]]."
            raise invalid(_where(source, path), "a non-empty array of tables", value, remedy)
        kind = metadata["tables"]
        return tuple(build(kind, row, source, f"{path}[{k}]") for k, row in enumerate(value))
    if "named" in metadata:
        if not isinstance(value, Mapping) or not value:
            remedy = f"Write each as [{path}.NAME]."
            raise invalid(_where(source, path), "a non-empty table of tables", value, remedy)
        kind = metadata["named"]
        return tuple(
            (name, build(kind, row, source, f"{path}.{name}")) for name, row in value.items()
        )
    rule: Constraint = metadata["rule"]
    if not rule.accepts(value):
        raise invalid(_where(source, path), rule.rule, value, metadata["remedy"])
    return _normal(rule, value)


def _normal(rule: Constraint, value: object) -> object:
    """Return lists as tuples and numbers as floats, so that 1 and 1.0 are one study."""
    if isinstance(value, list):
        inner = rule.item if isinstance(rule, (Each, Listed)) else rule
        return tuple(_normal(inner, entry) for entry in value)
    if isinstance(rule, Interval) and rule.kind == "number" and isinstance(value, int):
        return float(value)
    return value


def _where(source: str, path: str) -> str:
    return f"{source}: {path}" if path else source
