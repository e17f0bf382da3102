"""Who may do what: roles, users, tokens, sessions, and the books in which reveals and changes of rights are kept.

Law of the room: a secret (password, token, session) is kept as its hash alone; every change is durable when its call
returns (SQLite, WAL, synchronous=FULL) and stands in the audit book in the same transaction. Times are the machine's.
"""

from twin.access.access import Access
from twin.access.roles import Caller
from twin.access.veil import Veil

__all__ = ["Access", "Caller", "Veil"]
