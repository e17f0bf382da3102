"""Photos on the disk: named by their hash, bounded by case, and never shown when their bytes are others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from twin.app import album
from twin.app.album import Album
from twin.errors import AlbumFull


def test_what_was_kept_comes_back_and_what_was_altered_does_not(tmp_path: Path) -> None:
    """By its hash; twice the same is one file, which only its owner reads."""
    kept = Album(tmp_path)
    digest = kept.keep("CW-1", b"picture")
    assert kept.keep("CW-1", b"picture") == digest == hashlib.sha256(b"picture").hexdigest()
    assert kept.photo("CW-1", digest) == b"picture"
    assert kept.photo("CW-2", digest) is None
    (file,) = (tmp_path / "photos" / "CW-1").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"Picture")
    assert kept.photo("CW-1", digest) is None


@pytest.mark.parametrize("case", ["..", "a/b", "", "x" * 65, "a\0b"])
def test_no_name_leads_elsewhere(tmp_path: Path, case: str) -> None:
    """A case or hash that is none is no path."""
    with pytest.raises(AlbumFull):
        Album(tmp_path).keep(case, b"picture")
    assert Album(tmp_path).photo(case, "0" * 64) is None
    assert Album(tmp_path).photo("CW-1", "../" + "0" * 61) is None
    assert list(tmp_path.iterdir()) == []


def test_an_album_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many a case, and none on a nearly full disk."""
    kept = Album(tmp_path)
    for _ in range(album.MOST_A_CASE):
        kept.keep("CW-1", os.urandom(8))
    with pytest.raises(AlbumFull, match="20 photos"):
        kept.keep("CW-1", b"more")
    kept.keep("CW-2", b"more")
    monkeypatch.setattr(album, "KEPT_FREE_BYTES", 1 << 60)
    with pytest.raises(AlbumFull, match="nearly full"):
        kept.keep("CW-2", b"other")
