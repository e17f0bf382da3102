"""The one table of roles and what each may do. Pure. docs/privacy.md and docs/api.md say it in words.

A permission is a word; `step:VERB` is a step of a case's life. Which route needs which: dashboards/rights.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["session", "link", "token", "local"]  # a log-in, a one-time link, a token, the data directory's own key

LOOK = frozenset({"self", "city", "cases", "warnings", "health", "schema"})
WORK = frozenset({f"step:{verb}" for verb in ("accept", "handle", "return", "extend", "comment", "attach")})
DUTY = WORK - {"step:return"} | {
    f"step:{verb}"
    for verb in ("verify", "close", "cancel", "reopen", "evaluate", "merge", "split", "resend", "mute", "unmute")
}
DISPATCH = DUTY | {f"step:{verb}" for verb in ("return", "redo", "dispatch", "transfer", "approve", "deny")}

ROLES: dict[str, frozenset[str]] = {
    # watches the city and carries cases through; tells personal data only after an explicit reveal
    "operator": LOOK | DUTY | {"account", "reveal", "registry", "command"},
    # the same, and decides who gets a case and how long it may take
    "dispatcher": LOOK | DISPATCH | {"account", "reveal", "registry", "command", "backtest"},
    # sees and answers the cases of its own departments, and reveals what these cases need
    "department": LOOK | WORK | {"reveal"},
    # reads everything, the books too, and changes nothing; sees pseudonyms only
    "auditor": LOOK | {"account", "audit", "users:read", "metrics", "registry"},
    # keeps users, tokens and the machinery; needs nobody's plate or number for that
    "admin": LOOK
    | DISPATCH
    | {"account", "audit", "users:read", "users", "metrics", "ingest", "backup"}
    | {"registry", "registry:write", "command", "rules", "channels", "backtest"},
}
# What a token may be confined to although no person has it as a role.
SCOPES: dict[str, frozenset[str]] = {
    "ingest": frozenset({"ingest"}),
    "metrics": frozenset({"metrics", "health"}),
}
GRANTS = ROLES | SCOPES
EVERY = frozenset().union(*GRANTS.values())
OWN_PARTNER = frozenset({"step:comment", "step:attach"})  # what a department may do to a case that it is a partner of
LINK_ROLE = "dispatcher"  # of a one-time link, which needs no account
WORDS: dict[str, tuple[str, str]] = {
    "operator": ("Operator", "值班员"),
    "dispatcher": ("Dispatcher", "派遣员"),
    "department": ("Department", "部门人员"),
    "auditor": ("Auditor", "审计员"),
    "admin": ("Administrator", "管理员"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is what the history of cases records; `departments` confine the role "department".

    `scope`: a token's own, narrower grant; '' where the role alone decides. `session`: id of the session, '' else.
    """

    name: str
    role: str
    way: Way
    departments: tuple[str, ...] = ()
    scope: str = ""
    full_name: str = ""
    session: str = ""

    @property
    def permissions(self) -> frozenset[str]:
        """Everything that the role (and scope) allows.

        >>> sorted(Caller("m", "admin", "token", scope="ingest").permissions)
        ['ingest']
        """
        granted = GRANTS[self.role]
        return granted & GRANTS[self.scope] if self.scope else granted

    def may(self, permission: str) -> bool:
        """Whether the role (and scope) allows it."""
        return permission in self.permissions

    @property
    def confined(self) -> bool:
        """Whether only the cases of `departments` are to be seen."""
        return self.role == "department"
