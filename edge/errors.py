"""The small error tree of the edge gateway."""

from __future__ import annotations


class EdgeError(Exception):
    """Root of the tree."""


class ConfigError(EdgeError):
    """A configuration that is wrong: file, line, problem and fix in the message."""


class SpoolError(EdgeError):
    """The spool cannot be read or written now, for instance on a full disk; nothing that was durable is lost."""


class SourceError(EdgeError):
    """A southbound bus that cannot be opened."""
