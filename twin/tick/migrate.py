"""From a checkpoint of another version to this one's: what is new starts empty, what is gone is left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def fitted(fresh: Any, told: Any) -> Any:
    """`told`, a detector's dump, in the form of `fresh`, the dump of a new one.

    Entries that only `fresh` has come from there; numbers of another type are converted. A table of some rows only
    (it names them in `rows`) gets no new columns: whoever reads it knows what to do without. Raises ValueError where
    the two are not alike at all.
    """
    if isinstance(fresh, Mapping) and isinstance(told, Mapping):
        out = {name: fitted(fresh[name], value) if name in fresh else value for name, value in told.items()}
        if "rows" not in told:
            out |= {name: value for name, value in fresh.items() if name not in told}
        return out
    if isinstance(fresh, np.ndarray):
        if not isinstance(told, np.ndarray) or told.ndim != fresh.ndim:
            raise ValueError("an array of another form")
        return told if told.dtype == fresh.dtype else told.astype(fresh.dtype)
    if isinstance(told, np.ndarray | Mapping) or isinstance(fresh, Mapping):
        raise ValueError(f"a {type(told).__name__} where a {type(fresh).__name__} is expected")
    return told
