"""What the documents name exists: links, files, make targets, commands with their options, variables, packages."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import typer.main

from tests.docs.read import DOCUMENTS, ROOT, Document, documents

EVERY = pytest.mark.parametrize("document", documents(), ids=lambda d: d.name)

# The first part of a path in the project; a path in a document that starts so must exist.
TOP = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")} | {".ci"}


def makefile_targets() -> set[str]:
    """Every target of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that a call names, and the words behind its name. Raises KeyError for an unknown command."""
    from twin.__main__ import app

    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(None, name)  # imports it, where it only stands in the list
        if command is None:
            raise KeyError(name)
    return command, rest


@EVERY
def test_links_lead_somewhere(document: Document) -> None:
    """A relative link names a file of the project."""
    targets = [link.split("#")[0] for link in document.links() if not re.match(r"[a-z]+:", link)]
    missing = [t for t in targets if t and not (document.path.parent / t).exists()]
    assert not missing


@EVERY
def test_make_targets_exist(document: Document) -> None:
    """`make X` is a target, and `NAME=x` a benchmark."""
    for words in document.calls("make"):
        named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
        assert set(named) <= makefile_targets(), words
        for word in words:
            if word.startswith("NAME=") and word != "NAME=x":
                assert (ROOT / "bench" / f"{word[5:]}.py").exists(), word


@EVERY
def test_commands_and_their_options_exist(document: Document) -> None:
    """`citywhistle ...` is a command of the command line, with options that it has."""
    for words in document.calls("citywhistle"):
        shown = [word for word in words if word not in ("...", "…")]
        try:
            command, rest = command_of(shown)
        except KeyError as unknown:
            pytest.fail(f"citywhistle {' '.join(words)}: no command {unknown}")
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, f"citywhistle {' '.join(words)}"


@EVERY
def test_paths_exist(document: Document) -> None:
    """A path in code that begins with a folder of the project is there."""
    for piece in document.code():
        for path in re.findall(r"(?<![\w/.-])[\w.-]+(?:/[\w.-]+)+/?", piece):
            if path.split("/")[0] in TOP and "x.py" not in path:
                assert (ROOT / path).exists() or list(ROOT.glob(path + "*")), f"{document.name}: {path}"


@EVERY
def test_variables_exist(document: Document) -> None:
    """A CITYWHISTLE_ variable is a key of the configuration or is read somewhere in the code."""
    from twin.settings import Settings

    keys = {f"CITYWHISTLE_{name}".upper() for name in Settings.__dataclass_fields__}
    for section in Settings.__dataclass_fields__:
        inner = getattr(getattr(Settings(), section), "__dataclass_fields__", {})
        keys |= {f"CITYWHISTLE_{section}_{name}".upper() for name in inner}
    sources = "".join(
        p.read_text(encoding="utf-8")
        for folder in ("twin", "devices", "edge", "dashboards", "tests", "deploy")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".py", ".sh")
    )
    for name in re.findall(r"\bCITYWHISTLE_[A-Z_]+\b", document.text):
        assert name in keys or name in sources, name


@EVERY
def test_no_document_names_a_place_of_one_machine(document: Document) -> None:
    """Paths of a developer's machine mean nothing to a reader."""
    assert not re.search(r"/(work|root|tmp)/", document.text)
    assert not re.search(r"\b(TODO|FIXME|XXX|TBD)\b", document.text)


def test_the_index_lists_every_document() -> None:
    """A document that nobody finds is not written."""
    index = Document(ROOT / "docs/index.md", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    listed = {(ROOT / "docs" / link).resolve() for link in index.links()}
    own = {p.resolve() for p in DOCUMENTS if (ROOT / "docs") in p.parents and p.name != "index.md"}
    assert own <= listed, sorted(str(p.relative_to(ROOT)) for p in own - listed)


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md and pyproject.toml name the same packages, group by group."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"Base": project["dependencies"], **project["optional-dependencies"]}
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    for group, requirements in wanted.items():
        heading = "## Base" if group == "Base" else f"## `[{group}]`"
        rows = re.findall(r"^\| ([^|]+) \|", text.split(heading + "\n")[1].split("\n## ")[0], re.MULTILINE)
        told = {name.strip() for row in rows for name in row.split(",")} - {"package", "---"}
        assert told == {re.split(r"[<>=\[;!~ ]", r)[0] for r in requirements}, group


def test_the_help_of_make_lists_what_the_readme_uses() -> None:
    """`make` alone shows each target that a person runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = set(re.findall(r"^([a-z][a-z-]*):.*## ", makefile, re.MULTILINE))
    assert {"install", "demo", "test", "check", "bench", "soak", "clean"} <= shown
