"""`citywhistle privacy`: reveal a plate for a reason, read and prove the books."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from twin.access import Access
from twin.access.access import FILE
from twin.access.chain import BOOKS
from twin.command.client import CONFIG, JSON, OUT, Client, clock, fail, settings_of, words
from twin.errors import AccessError

app = typer.Typer(no_args_is_help=True, help="Personal data: reveals, and the books about them. 个人信息保护。")

BOOK = typer.Option("reveals", help=" | ".join(BOOKS))


@app.command()
def reveal(
    subject: str = typer.Argument(..., help="A truck's id, a pseudonym, or CASE/SERIAL for the words of a step."),
    config: Path | None = CONFIG,
    reason: str = typer.Option(..., "--reason", "-r", prompt=True, help="Why; it is written into the book."),
    case: str = typer.Option("", help="For which case."),
    as_json: bool = JSON,
) -> None:
    """Tell a plate or number in clear, as the user whose token CITYWHISTLE_TOKEN holds. 查看明文，须说明理由。"""
    told = Client(config).post("/api/reveals", {"subject": subject, "reason": reason, "case": case})
    if as_json:
        OUT.print_json(data=told)
        return
    OUT.print(words(f"{told['value']}  ({told['kind']}, line {told['n']} of the book)"), soft_wrap=True)


@app.command("list")
def list_(
    config: Path | None = CONFIG,
    book: str = BOOK,
    limit: int = typer.Option(50, min=1, max=1000, help="At most this many, newest first."),
    before: int = typer.Option(0, min=0, help="Go on before this line."),
    as_json: bool = JSON,
) -> None:
    """Who saw what and why (or who changed whose rights), newest first. 查阅记录。"""
    with _open(config, book) as access:
        found = access.entries(book, before=before, limit=limit)
    if as_json:
        OUT.print_json(data=[asdict(one) for one in found])
        return
    table = Table("n", "at (UTC)", "who", "what", "of", "reason", "detail", box=None)
    for one in found:
        at = clock(one.at_ms)
        told = (one.actor, one.event, one.subject, one.reason, one.detail)
        table.add_row(str(one.n), at, *(words(text) for text in told))
    OUT.print(table if found else "Nothing stands in this book.")


@app.command()
def verify(
    config: Path | None = CONFIG,
    head: str = typer.Option("", help="A head that an earlier verification printed; it must still be in the book."),
    book: str = BOOK,
    as_json: bool = JSON,
) -> None:
    """Read a whole book and prove that no line was altered or taken out. 校验记录。"""
    with _open(config, book) as access:
        proof = access.verify(book, head)
    if as_json:
        OUT.print_json(data=asdict(proof) | {"ok": proof.ok})
    else:
        OUT.print(f"{proof.checked} lines read, head {proof.head}", soft_wrap=True)
    if not proof.ok:
        raise fail(f"{proof.flaw}; compare with a backup of the data directory")
    if not as_json:
        OUT.print("every line is as it was written")


@contextlib.contextmanager
def _open(config: Path | None, book: str) -> Iterator[Access]:
    if book not in BOOKS:
        raise fail(f"no book {book!r} (there are: {', '.join(BOOKS)})", 2)
    path = Path(settings_of(config).data_dir) / FILE
    if not path.exists():
        raise fail(f"{path.parent} holds no books; name the configuration with --config")
    try:
        with contextlib.closing(Access(path)) as access:
            yield access
    except AccessError as error:
        raise fail(str(error)) from error
