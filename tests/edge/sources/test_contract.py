"""What holds for every source in the table, so that a new one is tested unasked."""

from __future__ import annotations

import pytest

from devices.sender import Address
from edge.config import example
from edge.errors import ConfigError
from edge.sheet import Sheet
from edge.sources import SOURCES
from edge.sources.intake import Intake
from tests.docs.read import ROOT

EVERY = pytest.mark.parametrize("name", sorted(SOURCES))


@EVERY
def test_an_unknown_key_is_refused_with_its_line(name: str) -> None:
    """No source takes a key that it does not know."""
    text = f'[[source]]\ntype = "{name}"\ncolour = "red"\n'
    sheet = Sheet("edge.toml", text, {"type": name, "colour": "red"}, ("source", 0))
    with pytest.raises(ConfigError, match=r"^edge\.toml:3: source\.colour: unknown key"):
        SOURCES[name](sheet, Intake({"pole-1": Address("d1", "pole", "pole-1")}))


@EVERY
def test_it_is_shown_in_the_documents_and_in_the_written_configuration(name: str) -> None:
    """Whoever reads the table of sources or `config init` finds it."""
    assert f"| `{name}` |" in (ROOT / "docs/edge.md").read_text(encoding="utf-8")
    assert f'type = "{name}"' in example()
