"""Typed settings: a plain mapping becomes a dataclass, with unknown names and wrong types told by name."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from autosing.signal.errors import UsageError

T = TypeVar("T")


def of_mapping(cls: type[T], mapping: Mapping[str, Any], where: str, locate: Callable[[str], str] | None = None) -> T:
    """Returns a dataclass made of `mapping`, every value checked against its field's annotation.

    Args:
        cls: a dataclass.
        mapping: field name -> plain value; lists become tuples, "3" becomes 3 where a number is expected.
        where: what is being configured, for messages.
        locate: returns where a key stands ("datasets.yaml:12: "), for messages.

    Raises:
        UsageError: an unknown key, a wrong type or a missing field; the message lists what is allowed.
    """
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    place = locate or (lambda key: "")
    hints = get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        if key not in known:
            raise UsageError(f"{place(key)}{where}.{key}: unknown; known: {', '.join(sorted(known)) or 'none'}")
        if is_dataclass(hints[key]) and isinstance(value, Mapping):
            values[key] = of_mapping(hints[key], value, f"{where}.{key}", _always(place(key)))
        else:
            values[key] = _checked(hints[key], value, f"{place(key)}{where}.{key}")
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(f"{where}: {error}; known: {', '.join(sorted(known))}") from error


def _always(place: str) -> Callable[[str], str]:
    return lambda key: place


def _checked(hint: Any, value: Any, where: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        told = "; ".join(dict.fromkeys(e["msg"] for e in error.errors()))
        raise UsageError(f"{where}: {value!r} does not fit: {told}") from error
