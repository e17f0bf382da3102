"""The journal: what makes "nothing lost, nothing doubled" true. Start at journal.py; codec.py draws the bytes."""

from __future__ import annotations

from twin.journal.codec import decode, encode
from twin.journal.journal import Journal, Size

__all__ = ["Journal", "Size", "decode", "encode"]
