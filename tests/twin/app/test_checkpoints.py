"""Checkpoint files: whole or refused, two kept, and nothing lost where there is no room for a new one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from twin.app import checkpoints as room
from twin.app.checkpoints import Checkpoints, Part
from twin.errors import CheckpointBroken


def told_by(path: Path) -> dict[str, Part]:
    """The parts of a checkpoint with their bytes."""
    return {name: Part(part.n, part.data()) for name, part in Checkpoints.read(path).items()}


def parts(n: int, text: str = "state") -> dict[str, Part]:
    return {"world": Part(n, text.encode() * 3), "account": Part(n - 1, b"account")}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every part comes back with its position; a part without bytes as well."""
    kept = Checkpoints(tmp_path / "c")
    told = parts(7) | {"empty": Part(9, b"")}
    path = kept.write(told)
    assert told_by(path) == told
    assert kept.files() == [path]


def test_one_of_the_former_version_is_read(tmp_path: Path) -> None:
    """A server that was stopped before an update goes on from what it had learnt."""
    parts, data = b'[{"name": "world", "n": 7, "bytes": 5, "sha256": "%s"}]\n', b"state"
    head = parts % hashlib.sha256(data).hexdigest().encode()
    path = tmp_path / "7.check"
    path.write_bytes(b"CWCHECK2\n" + hashlib.sha256(head).hexdigest().encode() + head + data)
    assert told_by(path) == {"world": Part(7, data)}
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointBroken, match="world is damaged"):
        Checkpoints.read(path)


def test_damage_of_any_byte_is_noticed(tmp_path: Path) -> None:
    """Whichever byte of a checkpoint is changed, taken out or added, it is refused: the head counts like the parts."""
    path = Checkpoints(tmp_path).write(parts(7, "s"))
    good = path.read_bytes()
    for at in range(len(good)):
        for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at] + good[at + 1 :], good[:at]):
            path.write_bytes(bad)
            with pytest.raises(CheckpointBroken, match=path.name):
                Checkpoints.read(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(CheckpointBroken, match="too many"):
        Checkpoints.read(path)


def test_two_are_kept_and_the_floor_is_the_older_ones(tmp_path: Path) -> None:
    """The newest two stay, newest first; the journal may be trimmed to the older one's lowest part, and not before."""
    kept = Checkpoints(tmp_path)
    assert kept.floor() == 0
    first = kept.write(parts(10))
    assert kept.floor() == 0
    second, third = kept.write(parts(20)), kept.write(parts(30))
    assert kept.files() == [third, second]
    assert not first.exists()
    assert kept.floor() == 19


def test_no_room_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while writing or syncing costs nothing but the new one, of which no piece stays."""
    kept = Checkpoints(tmp_path)
    old = [kept.write(parts(10)), kept.write(parts(20))]

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(room.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            kept.write(parts(30))
    assert sorted(tmp_path.iterdir()) == sorted(old)
    assert told_by(old[1]) == parts(20)


def test_a_leftover_of_a_crash_is_removed(tmp_path: Path) -> None:
    """A half-written file of a process that was killed is no checkpoint and does not stay."""
    (tmp_path / "000000000000009.new").write_bytes(b"half")
    assert Checkpoints(tmp_path).files() == []
    assert list(tmp_path.iterdir()) == []
