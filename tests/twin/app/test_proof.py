"""The proof of the history: heads put aside in the audit book, and photos as they were attached."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from tests.twin.whistle.city import Story
from twin.access import Access
from twin.app.album import Album
from twin.app.proof import Heads, heads_of, prove
from twin.deliver.cases import Cases

JPEG = b"\xff\xd8\xff picture"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A case with a photo of our keeping, and one that lies elsewhere."""
    story = Story()
    story.after(1, [story.finding("leakage", "pole-0005")])
    case = story.only()
    kept = Album(tmp_path).keep(case, JPEG)
    told = {"media_type": "image/jpeg", "size_bytes": len(JPEG)}
    story.act("attach", case, "", name=f"photo-{kept[:12]}.jpg", sha256=kept, **told)
    story.act("attach", case, "", name="plan.pdf", sha256="0" * 64, **told)
    return story


def cases_of(story: Story, folder: Path) -> Cases:
    """The story as it is recorded."""
    cases = Cases(folder / "cases.db")
    for n, changes in enumerate(story.log, 1):
        cases.record(n, changes)
    return cases


def test_the_head_is_put_aside_when_it_moved(story: Story, tmp_path: Path) -> None:
    """One line of the audit book each time that the history has grown; the book proves itself as ever."""
    access, cases = Access(tmp_path / "users.db"), cases_of(story, tmp_path)
    heads = Heads(cases, access, every_s=3600)
    heads.put_aside()
    heads.put_aside()
    first = cases.head
    assert heads_of(access) == {first[0]: first[1]}
    story.act("accept", story.only())
    cases.record(len(story.log), story.log[-1])
    heads.start()
    heads.stop()  # the last one is put aside at the end
    assert heads_of(access) == dict([first, cases.head])
    assert prove(cases, tmp_path, access, 365).ok
    assert access.verify("audit").ok
    with cases._engine.begin() as raw:
        raw.execute(text("DELETE FROM transitions WHERE n > 2"))
        raw.execute(text("UPDATE cases SET state = (SELECT after FROM transitions ORDER BY n DESC LIMIT 1)"))
        raw.execute(text("UPDATE meta SET value = '2' WHERE name = 'chain_n'"))
        raw.execute(
            text("UPDATE meta SET value = (SELECT hash FROM transitions WHERE n = 2) WHERE name = 'chain_head'")
        )
    assert prove(cases, tmp_path, None, 365).flaw != "altered"
    verdict = prove(cases, tmp_path, access, 365)
    assert (verdict.flaw, verdict.n) == ("missing", 3)
    cases.close()
    access.close()


@pytest.mark.parametrize(("spoil", "flaw"), [
    (lambda path: path.write_bytes(JPEG + b"!"), "altered"), (lambda path: path.unlink(), "missing"),
])  # fmt: skip
def test_a_photo_that_was_altered_or_taken_away_is_named(
    story: Story, tmp_path: Path, spoil: object, flaw: str
) -> None:
    """Its name, case and entry; what lies elsewhere is not ours to prove."""
    cases = cases_of(story, tmp_path)
    assert prove(cases, tmp_path, None, 365).ok
    (path,) = (tmp_path / "photos").rglob("*.jpg")
    spoil(path)  # type: ignore[operator]
    verdict = prove(cases, tmp_path, None, 365)
    assert (verdict.flaw, verdict.case) == (flaw, story.only())
    assert path.stem[:12] in verdict.detail
    cases.close()


def test_a_photo_that_retention_took_is_no_flaw(story: Story, tmp_path: Path) -> None:
    """Photos go after `photos_days`; a newer one says that so much time has passed."""
    (path,) = (tmp_path / "photos").rglob("*.jpg")
    path.unlink()
    story.after(366 * 86_400)
    other = Album(tmp_path).keep(story.only(), JPEG + b"2")
    story.act(
        "attach", story.only(), "", name=f"photo-{other[:12]}.jpg", sha256=other, media_type="image/jpeg", size_bytes=9
    )
    cases = cases_of(story, tmp_path)
    assert prove(cases, tmp_path, None, 365).ok
    assert prove(cases, tmp_path, None, 0).flaw == "missing"
    cases.close()
