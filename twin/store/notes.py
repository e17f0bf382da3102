"""Small notes beside a store, in JSON: written durably, and put aside where they cannot be read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twin.store.sealed import sync_folder

LOG = logging.getLogger(__name__)
Found = TypeVar("Found")


def write_note(path: Path, told: Mapping[str, Any]) -> None:
    """Put a note in place of what is there. Raises OSError."""
    aside = path.with_name(path.name + ".new")
    with aside.open("w", encoding="utf-8") as out:
        json.dump(told, out, ensure_ascii=False)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)
    sync_folder(path.parent)


def read_note(path: Path, understand: Callable[[Any], Found], lost: str) -> Found | None:
    """What `understand` makes of a note; None where there is none. One that cannot be read is put aside under another
    name and logged with what is `lost` by it."""
    try:
        return understand(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        damaged = path.with_name(path.name + ".damaged")
        path.replace(damaged)
        LOG.error("%s cannot be read (%s) and lies in %s now: %s", path, error, damaged, lost)
        return None
