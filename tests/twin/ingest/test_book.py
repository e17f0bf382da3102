"""The numbers of one sender: exact against a set, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin.ingest.book import BOOTS, GAPS, START, Book, Boot, begin


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80))
def test_exact_against_a_set(seqs: list[int]) -> None:
    """Whatever order numbers come in, new is what a set says, and mark, missing and ranges follow from it."""
    seen = {seqs[0]}
    book = begin(1, seqs[0])
    for seq in seqs[1:]:
        assert book.take(seq) == (seq not in seen)
        seen.add(seq)
    base = min(1, *seen) if len(seen) > 1 else min(1, seqs[0])
    assert book.base == base
    assert book.missing == sum(n not in seen for n in range(base, max(seen) + 1))
    mark = base - 1
    while mark + 1 in seen:
        mark += 1
    assert book.mark == mark
    beyond = {n for first, last in book.beyond(1000) for n in range(first, last + 1)}
    assert beyond == {n for n in seen if n > mark}


def test_a_sender_known_from_far_on() -> None:
    """A sender whose first number is far from 1 began elsewhere: nothing before it is missing, until it comes."""
    book = begin(1, START + 1)
    assert book.missing == 0
    assert book.mark == START + 1
    assert book.take(START - 1)
    assert book.missing == 1
    assert not book.take(START + 1)


def test_what_a_new_boot_lost_at_its_beginning_is_missing() -> None:
    """A boot later than one we know began at 1, in our time: all that is lost before its first number is missing, be it
    thousands. An earlier or a first one may have begun elsewhere. What comes after all is missing no more."""
    book = Book()
    assert book.take(100, START + 5) == (True, False)
    assert book.missing == 0
    assert book.take(101, 5 * START) == (True, False)
    assert book.missing == 5 * START - 1
    assert book.boots[-1].mark == 0
    assert book.take(101, 17) == (True, True)
    assert book.missing == 5 * START - 2
    assert book.take(99, 7 * START) == (True, False)
    assert book.missing == 5 * START - 2


def test_gaps_are_bounded() -> None:
    """Beyond the bound the lowest gap is given up: it stays missing, and its numbers are not accepted any more."""
    book = Book()
    for seq in range(1, 2 * (GAPS + 3), 2):
        book.take(1, seq)
    boot = book.boots[-1]
    assert len(boot.gaps) == GAPS
    assert book.given_up == 2
    assert book.missing == GAPS + 2
    assert book.take(1, 2) == (False, False)


def test_boots_are_bounded() -> None:
    """The boot that appeared first is forgotten beyond the bound; what it lacked stays missing."""
    book = Book()
    for boot in range(BOOTS + 1):
        book.take(boot, 2)
    assert [boot.boot for boot in book.boots] == list(range(1, BOOTS + 1))
    assert book.missing == BOOTS + 1


def test_boots_interleave() -> None:
    """Readings of an older boot are accepted once, also after a newer one began."""
    book = Book()
    assert book.take(5, 1) == (True, False)
    assert book.take(6, 1) == (True, False)
    assert book.take(5, 2) == (True, False)
    assert book.take(5, 2) == (False, False)
    assert book.take(6, 3) == (True, False)
    assert book.take(6, 2) == (True, True)
    assert [(b.boot, b.mark) for b in book.boots] == [(5, 2), (6, 3)]


def test_beyond_names_the_highest_ranges() -> None:
    """A mark names at most so many ranges, the highest: a sender still holds those."""
    boot = Boot(1, 1, 10, [(2, 2), (4, 4), (6, 6)])
    assert boot.beyond(2) == ((5, 5), (7, 10))
    assert boot.mark == 1
