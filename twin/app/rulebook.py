"""A table of the city's own while the server runs: from its file, or as last set; checked, kept, journalled."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twin.detect import default_rules, parse_rules
from twin.errors import SettingsError
from twin.records import Body, Edit

LOG = logging.getLogger(__name__)

Append = Callable[[Sequence[Body]], object]


class Tablebook:
    """What was set by API or command stands until the city's own file changes: whoever spoke last is right.

    What is set is kept in the data directory beside the digest of the file that it replaced.
    """

    def __init__(self, data: Path, what: str, text: str, append: Append) -> None:
        self.what, self.file = what, f"{what}.toml"
        self._path = data / f"{what}.json"
        self._text = text
        self._append = append
        self._lock = threading.Lock()

    def parse(self, text: str) -> dict[str, Any]:
        """The file's table, checked. Raises SettingsError with file, line where it is known, and fix."""
        raise NotImplementedError

    def check(self, table: Mapping[str, Any], source: str) -> None:
        """Raises SettingsError for a table that cannot be in force."""
        raise NotImplementedError

    def spell(self, table: Mapping[str, Any]) -> str:
        """As it stands in the journal."""
        return json.dumps(table, sort_keys=True)

    def wanted(self) -> dict[str, Any]:
        """The table that ought to be in force. Raises SettingsError for a wrong file."""
        from_file = self.parse(self._text) if self._text else {}
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["file"] != self._digest():
                return from_file
            self.check(kept[self.what], str(self._path))
        except FileNotFoundError:
            return from_file
        except (ValueError, KeyError, TypeError, SettingsError) as error:  # damaged, or of another version
            LOG.warning("%s is left aside, the city's %s holds: %s", self._path, self.file, error)
            return from_file
        return dict(kept[self.what])

    def replace(self, table: Mapping[str, Any], actor: str) -> None:
        """Check, keep and journal a whole table. Raises SettingsError; then nothing has changed."""
        self.check(table, self.what)
        with self._lock:
            fresh = self._path.with_suffix(".new")
            with fresh.open("w", encoding="utf-8") as file:
                told = {"file": self._digest(), "by": actor, self.what: table}
                json.dump(told, file, ensure_ascii=False, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            self._journal(table)
        LOG.info("%s replaced by %s: %s", self.what, actor, ", ".join(sorted(table)) or "as shipped")

    def reread(self, text: str) -> None:
        """The city's file has another text now: check and journal it, in place of whatever was set before.

        Raises SettingsError; then nothing has changed.
        """
        table = self.parse(text) if text else {}
        with self._lock:
            if text == self._text:
                return
            self._journal(table)
            self._text = text
            self._path.unlink(missing_ok=True)  # also where the file should once more be what it was then
        LOG.info("%s of %s taken in: %s", self.what, self.file, ", ".join(sorted(table)) or "as shipped")

    def _journal(self, table: Mapping[str, Any]) -> None:
        self._append([Edit(self.what, self.spell(table))])

    def _digest(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()


class Rulebook(Tablebook):
    """rules.toml: parameters of findings."""

    def __init__(self, data: Path, text: str, append: Append) -> None:
        super().__init__(data, "rules", text, append)

    def parse(self, text: str) -> dict[str, Any]:
        table: dict[str, Any] = parse_rules(text, self.file)
        self.check(table, self.file)
        return table

    def check(self, table: Mapping[str, Any], source: str) -> None:
        default_rules().override(table, source)
