"""Records into what JSON can say: dataclasses to objects, NaN and infinity to null, bytes to text. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

DEPTH = 12  # a record nested deeper than this is a mistake


def plain(value: Any, depth: int = DEPTH) -> Any:
    """`value` as dicts, lists, str, int, finite float, bool, None. Raises TypeError for what has no plain form."""
    if value is None or isinstance(value, str | bool):
        return value
    if depth == 0:
        raise TypeError("nested too deeply to be a record")
    if isinstance(value, int | float | np.generic):
        return _number(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), depth - 1) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), depth)
    if isinstance(value, Sequence | AbstractSet):
        return [plain(item, depth - 1) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def _number(value: Any) -> int | float | bool | None:
    """A finite Python number; null for NaN and infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is no number")
