"""Reads the documents as a reader would: links, commands, make targets, paths."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```.*?$(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Document:
    """One document's text, and what it says in code."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def links(self) -> list[str]:
        """Targets of links and images, outside of code."""
        return _LINK.findall(_CODE.sub("", _FENCE.sub("", self.text)))

    def code(self) -> list[str]:
        """Every line of a code block and every piece of inline code."""
        blocks = [line.strip() for block in _FENCE.findall(self.text) for line in block.splitlines()]
        return [line for line in blocks if line] + _CODE.findall(_FENCE.sub("", self.text))

    def calls(self, program: str) -> list[list[str]]:
        """Arguments of each call of a program that the code shows."""
        found = []
        for line in self.code():
            for part in re.split(r"&&|\|\||;|\|", line.split("  #")[0]):
                try:
                    words = shlex.split(part)
                except ValueError:
                    continue  # a piece of another language, not a command
                if words and words[0].removeprefix(".venv/bin/") == program:
                    found.append(words[1:])
        return found


def documents() -> list[Document]:
    """All of them."""
    return [Document(path, path.read_text(encoding="utf-8")) for path in DOCUMENTS]
