"""The account as the desk shows it: what the store lacks is not counted as stored; the newest rejects stay readable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twin.tick.town import NIGHT_MS, said, town
from twin.app.accounts import RING, Accounts
from twin.ingest.ledger import Ledger
from twin.journal import Journal
from twin.records import Batch, Reject
from twin.store import line
from twin.store.aside import Refusals


class Books:
    """An account over a journal, with a store that stands where the test says."""

    def __init__(self, folder: Path) -> None:
        self.city = town(poles=3, cells=0, trucks=0)
        self.journal = Journal(folder / "journal.db", max_bytes=64 << 20)
        self.ledger = Ledger()
        self.stored = 0
        self.refused = Refusals()
        self.accounts = Accounts(
            self.ledger, self.city.registry, self.journal, lambda: self.stored, lambda: self.refused
        )

    def hear(self, device: str, seq: int) -> None:
        batch = Batch((said(self.city, "pole", device, NIGHT_MS + seq, seq=seq, voltage=230.0),), messages=1)
        self.ledger.commit(batch, self.journal.append([batch]))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.journal.close()


def test_stored_is_what_the_store_has(books: Books) -> None:
    """journalled = stored + what waits, in all and by device, however the store moves on."""
    for seq in range(1, 5):
        books.hear("pole-0", seq)
    books.hear("pole-1", 1)
    assert (books.accounts.total().journalled, books.accounts.total().stored) == (5, 0)
    books.stored = 3
    total = books.accounts.total()
    assert (total.journalled, total.stored) == (5, 3)
    page = {one.device: one for one in books.accounts.page("", 100)}
    assert (page["pole-0"].journalled, page["pole-0"].stored) == (4, 3)
    assert (page["pole-1"].journalled, page["pole-1"].stored) == (1, 0)
    assert page["pole-2"].journalled == 0
    books.hear("pole-1", 2)
    assert books.accounts.total().stored == 3
    books.stored = 6
    assert books.accounts.total().stored == 6


def test_nothing_is_said_to_be_stored_before_it_is(books: Books) -> None:
    """A reading that came just after the last look waits in the next one, however soon that is."""
    assert books.accounts.total().stored == 0
    books.hear("pole-0", 1)
    assert (books.accounts.total().journalled, books.accounts.total().stored) == (1, 0)
    books.hear("pole-0", 2)
    assert books.accounts.page("pole-", 1)[0].stored == 0


def test_what_the_store_refused_is_not_stored(books: Books) -> None:
    """journalled = stored + unstorable + what waits; lines of no device known count in the total alone."""
    for seq in range(1, 5):
        books.hear("pole-0", seq)
    books.stored = 3
    books.refused = Refusals(2, {line.head("pole", "pole-0"): 1, "": 1})
    total, one = books.accounts.total(), books.accounts.page("pole-", 1)[0]
    assert (total.journalled, total.stored, total.unstorable) == (4, 1, 2)
    assert (one.device, one.stored, one.unstorable) == ("pole-0", 2, 1)


def test_the_store_is_complete_up_to_what_waits(books: Books) -> None:
    """With nothing waiting the store is complete up to now, else up to the oldest waiting reading."""
    assert books.accounts.complete_to_ms(NIGHT_MS + 99) == NIGHT_MS + 99
    books.hear("pole-0", 1)
    books.hear("pole-0", 2)
    assert books.accounts.complete_to_ms(NIGHT_MS + 99) == NIGHT_MS + 1
    books.stored = 2
    assert books.accounts.complete_to_ms(NIGHT_MS + 99) == NIGHT_MS + 99


def test_a_trimmed_journal_is_counted_anew(books: Books) -> None:
    """Entries that were trimmed while the store stood elsewhere make no count wrong and raise nothing."""
    for seq in range(1, 6):
        books.hear("pole-0", seq)
    assert books.accounts.waiting().readings == 5
    books.journal.trim(4)
    assert books.accounts.waiting().readings >= 0
    books.stored = 4
    assert books.accounts.waiting().readings == 1


def test_devices_come_in_pages(books: Books) -> None:
    """Pages go on behind the last id of the one before, in the order of ids."""
    names = [one.device for one in books.accounts.page("", 2)]
    more = [one.device for one in books.accounts.page(names[-1], 100)]
    every = [one.device for one in books.accounts.page("", 100)]
    assert names + more == every == sorted(every)


def test_the_newest_rejects_are_kept(books: Books) -> None:
    """The ring is bounded and answers newest first."""
    for i in range(RING + 10):
        books.accounts.note(Batch((), samples=(Reject(i, "city/x", "syntax", "", b"?"),)))
    told = books.accounts.rejects(10_000)
    assert [one.at_ms for one in told] == list(range(RING + 9, 9, -1))
    assert len(books.accounts.rejects(3)) == 3
