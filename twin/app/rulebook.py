"""The city's own rules while the server runs: from its files, or as last set; checked, kept, journalled."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twin.detect import default_rules, parse_rules
from twin.records import Body, Edit

LOG = logging.getLogger(__name__)
KEPT = "rules.json"  # in the data directory


class Rulebook:
    """What was set by API or command stands until the city's own rules.toml changes: whoever spoke last is right."""

    def __init__(self, data: Path, text: str, append: Callable[[Sequence[Body]], object]) -> None:
        self._path = data / KEPT
        self._text = text
        self._append = append

    def wanted(self) -> dict[str, Any]:
        """The overrides that ought to be in force."""
        from_file: dict[str, Any] = parse_rules(self._text, "rules.toml") if self._text else {}
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["file"] != self._digest():
                return from_file
            default_rules().override(kept["rules"], str(self._path))
        except FileNotFoundError:
            return from_file
        except (ValueError, KeyError, TypeError) as error:  # damaged, or of another version
            LOG.warning("%s is left aside, the city's rules.toml holds: %s", self._path, error)
            return from_file
        return dict(kept["rules"])

    def replace(self, table: Mapping[str, Any], actor: str) -> None:
        """Check, keep and journal a whole table of overrides. Raises SettingsError; then nothing has changed."""
        default_rules().override(table)
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"file": self._digest(), "by": actor, "rules": table}, file, ensure_ascii=False, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._append([Edit("rules", json.dumps(table, sort_keys=True))])
        LOG.info("rules replaced by %s: %s", actor, ", ".join(sorted(table)) or "as shipped")

    def _digest(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()
