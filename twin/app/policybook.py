"""policy.toml while the server runs: deadlines, holds, closure, storms, escalation and calendar of the whistles."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twin.app.rulebook import Append, Tablebook
from twin.errors import SettingsError
from twin.whistle.policy import Policy, policy_of, policy_text

_SECTION = re.compile(r"(?:\[([^\]]+)\]|\b(calendar))[: ]")
_KEY = re.compile(r"unknown (?:key|section) '([^']*)'|[:\]] ([\w-]+)(?: = | \()|^calendar (\w+)")


class Policybook(Tablebook):
    """`policy` is the one in force, or about to be with the next tick."""

    def __init__(self, data: Path, text: str, append: Append, *, timezone: str, hold_s: float) -> None:
        super().__init__(data, "policy", text, append)
        self._timezone, self._hold_s = timezone, hold_s
        self.table = self.wanted()
        self.policy: Policy = policy_of(self.spell(self.table))

    def parse(self, text: str) -> dict[str, Any]:
        table = read_policy(text, timezone=self._timezone, hold_s=self._hold_s)
        return dict(json.loads(json.dumps(table, default=str)))  # dates of TOML as ISO texts

    def check(self, table: Mapping[str, Any], source: str) -> None:  # noqa: ARG002 - errors name section and key
        self.spell(table)

    def spell(self, table: Mapping[str, Any]) -> str:
        return policy_text(table, timezone=self._timezone, hold_s=self._hold_s)

    def _journal(self, table: Mapping[str, Any]) -> None:
        super()._journal(table)
        self.table, self.policy = dict(table), policy_of(self.spell(table))


def read_policy(text: str, *, timezone: str, hold_s: float) -> dict[str, Any]:
    """The table of a policy.toml, checked. Raises SettingsError with file, line and fix."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"policy.toml: {error}; text needs quotation marks") from error
    try:
        policy_text(table, timezone=timezone, hold_s=hold_s)
    except SettingsError as error:
        raise SettingsError(f"policy.toml, line {line_in(text, str(error))}: {error}") from error
    return table


def line_in(text: str, message: str) -> int:
    """The line that a message of `parse_policy` speaks of: of its key, else of its section, else the first."""
    section, key = _SECTION.search(message), _KEY.search(message)
    at = 0
    if section is not None:
        found = re.search(rf"^\s*\[\s*{re.escape(section[1] or section[2])}\s*\]", text, re.MULTILINE)
        at = found.end() if found is not None else 0
    if key is not None:
        name = re.escape(next(one for one in key.groups() if one is not None))
        shape = re.compile(rf"^\s*(?:{name}\s*=|\[\s*{name}\b)", re.MULTILINE)
        found = shape.search(text, at)
        at = found.end() if found is not None else at
    return text.count("\n", 0, at) + 1
