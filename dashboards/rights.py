"""Which call needs which permission: one table, looked up by the gate before a route, a body or a parameter is touched.

What the table does not list is refused to everybody; a test walks all routes and roles. What a role may: the table in
twin/access/roles.py. `{name}` stands for one part of a path and may be used in the permission.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twin.access.roles import EVERY

OPEN = "open"  # to anybody, also without a session
LOCAL = "local"  # to the data directory's own key alone
STRANGE = "?"  # a verb that there is not: nobody may take it

RULES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/", OPEN),
    ("GET", "/favicon.svg", OPEN),
    ("GET", "/assets/{file}", OPEN),
    ("HEAD", "/assets/{file}", OPEN),
    ("GET", "/healthz", OPEN),
    ("GET", "/readyz", OPEN),
    ("POST", "/api/session", OPEN),
    ("GET", "/answer/{token}", OPEN),  # the signed link is the whole authority
    ("POST", "/answer/{token}", OPEN),
    ("GET", "/api/session", "self"),
    ("DELETE", "/api/session", "self"),
    ("POST", "/api/session/token", LOCAL),
    ("POST", "/api/password", "self"),
    ("GET", "/api/sessions", "self"),
    ("DELETE", "/api/sessions/{session}", "self"),
    ("GET", "/api/openapi.json", "schema"),
    ("GET", "/api/city", "city"),
    ("GET", "/api/devices", "city"),
    ("GET", "/api/devices/{device}", "city"),
    ("GET", "/api/devices/{device}/series", "city"),
    ("GET", "/api/commands", "city"),
    ("GET", "/api/devices/{device}/commands", "city"),
    ("POST", "/api/devices/{device}/commands", "command"),
    ("GET", "/api/basemap", "city"),
    ("WEBSOCKET", "/api/live", "city"),
    ("GET", "/api/cases", "cases"),
    ("GET", "/api/cases/{case}", "cases"),
    ("GET", "/api/cases/{case}/children", "cases"),
    ("GET", "/api/cases/{case}/history", "cases"),
    ("GET", "/api/cases/{case}/deliveries", "cases"),
    ("POST", "/api/cases/{case}/photos", "step:attach"),
    ("GET", "/api/cases/{case}/photos/{sha256}", "cases"),
    ("POST", "/api/cases/{case}/{verb}", "step:{verb}"),
    ("GET", "/api/route", "city"),
    ("GET", "/api/letters", "account"),
    ("GET", "/api/mutes", "account"),
    ("POST", "/api/mutes", "step:mute"),
    ("DELETE", "/api/mutes/{mute}", "step:unmute"),
    ("GET", "/api/channels", "account"),
    ("POST", "/api/channels/{channel}/test", "channels"),
    ("GET", "/api/score", "cases"),
    ("GET", "/api/score.csv", "cases"),
    ("GET", "/api/cap", "warnings"),
    ("GET", "/api/cap/{case}", "warnings"),
    ("GET", "/api/accounting", "account"),
    ("GET", "/api/rejects", "account"),
    ("GET", "/api/health", "health"),
    ("GET", "/api/rules", "city"),
    ("PUT", "/api/rules", "rules"),
    ("GET", "/api/policy", "city"),
    ("PUT", "/api/policy", "rules"),
    ("GET", "/api/backtest", "backtest"),
    ("POST", "/api/backtest", "backtest"),
    ("DELETE", "/api/backtest", "backtest"),
    ("GET", "/api/store", "account"),
    ("POST", "/api/store/backup", "backup"),
    ("GET", "/metrics", "metrics"),
    ("POST", "/api/ingest", "ingest"),
    ("GET", "/api/registry/versions", "registry"),
    ("GET", "/api/registry/strangers", "registry"),
    ("GET", "/api/registry/{table}", "registry"),
    ("GET", "/api/registry/{table}/{name}", "registry"),
    ("GET", "/api/registry/{table}/{name}/history", "registry"),
    ("POST", "/api/registry/changes", "registry:write"),
    ("POST", "/api/registry/import", "registry:write"),
    ("POST", "/api/registry/adopt", "registry:write"),
    ("POST", "/api/registry/devices/{name}/replace", "registry:write"),
    ("PUT", "/api/registry/{table}/{name}", "registry:write"),
    ("PATCH", "/api/registry/{table}/{name}", "registry:write"),
    ("DELETE", "/api/registry/{table}/{name}", "registry:write"),
    ("GET", "/api/users", "users:read"),
    ("POST", "/api/users", "users"),
    ("PATCH", "/api/users/{user}", "users"),
    ("DELETE", "/api/users/{user}", "users"),
    ("GET", "/api/tokens", "users:read"),
    ("POST", "/api/tokens", "users"),
    ("DELETE", "/api/tokens/{token}", "users"),
    ("GET", "/api/books/{book}", "audit"),
    ("GET", "/api/books/{book}/proof", "audit"),
    ("GET", "/api/journal/proof", "audit"),
    ("POST", "/api/reveals", "reveal"),
)


@dataclass(frozen=True, slots=True)
class Need:
    """What a call needs: a permission, OPEN, LOCAL or STRANGE; '' where the table lists other methods only."""

    permission: str


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)) + r"\Z")


_COMPILED = tuple((method, _pattern(template), permission) for method, template, permission in RULES)


def need(method: str, path: str) -> Need | None:
    """What a call needs; None for a path that is not listed.

    >>> need("POST", "/api/cases/CW-1/close"), need("POST", "/api/cases/CW-1/burn"), need("DELETE", "/api/city")
    (Need(permission='step:close'), Need(permission='?'), Need(permission=''))
    """
    known = False
    for listed, pattern, permission in _COMPILED:
        found = pattern.match(path)
        if found is None:
            continue
        known = True
        if listed != method:
            continue
        wanted = permission.format(**found.groupdict()) if "{" in permission else permission
        return Need(wanted if wanted in EVERY or wanted in (OPEN, LOCAL) else STRANGE)
    return Need("") if known else None
