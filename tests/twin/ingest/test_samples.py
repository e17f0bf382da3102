"""Refused messages that are kept readable: some of each topic, so many in all."""

from __future__ import annotations

from twin.ingest.samples import ALL_AT_ONCE, AT_ONCE, EVERY_S, TOPICS, Samples
from twin.records import Reject


def of(topic: str, count: int) -> list[Reject]:
    return [Reject(n, topic, "syntax", "", b"x") for n in range(count)]


def test_of_one_topic_some_are_kept_and_then_few() -> None:
    """A burst, then one in so many seconds; another topic's are kept beside it."""
    samples = Samples()
    assert samples.thin(of("a", 1000), 100.0) == tuple(of("a", AT_ONCE))
    assert samples.thin(of("b", 5), 100.0) == tuple(of("b", 5))
    later = sum(len(samples.thin(of("a", 10), 100.0 + n * EVERY_S)) for n in range(1, 501))
    assert 499 <= later <= 501
    assert len(samples.thin(of("a", 1000), 10_000.0)) == AT_ONCE


def test_of_very_many_topics_no_more_are_kept_than_in_all() -> None:
    """Each topic new: the bound of all holds, and what is remembered of topics is bounded."""
    samples = Samples()
    kept = sum(len(samples.thin(of(f"t{n}", 1), 0.0)) for n in range(3 * TOPICS))
    assert kept == ALL_AT_ONCE
    assert len(samples._full) == TOPICS
