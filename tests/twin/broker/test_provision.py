"""Provisioning: made once, kept from then on, private, and quick for a full city."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from tests.twin.broker.registry import FEW, device
from twin.broker.passwords import fits, parse_pairs
from twin.broker.provision import provision, read_credentials


def test_the_first_time_everybody_gets_a_password_of_its_own(tmp_path: Path) -> None:
    """Hashes for the broker, plain words for our own senders, and they belong together."""
    made = provision(FEW, tmp_path / "b")
    plain = read_credentials(made.files)
    hashes = parse_pairs(made.files.passwords.read_text(encoding="utf-8"))
    assert set(plain) == set(hashes) == {a.user for a in made.accounts} == set(made.new)
    assert len(set(plain.values())) == len(plain)
    assert all(fits(plain[user], hashes[user]) for user in plain)
    assert made.files.password_of("server").read_text(encoding="utf-8") == plain["server"] + "\n"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    """Idempotent to the byte, so that a running broker need not be disturbed."""
    provision(FEW, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    again = provision(FEW, tmp_path)
    assert not again.changed
    assert again.new == again.retired == ()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_newcomers_get_a_password_leavers_lose_theirs_and_the_rest_keep_theirs(tmp_path: Path) -> None:
    """What a change of the registry does to the users."""
    before = read_credentials(provision(FEW, tmp_path).files)
    changed = (*(d for d in FEW if d.id != "truck-1"), device("truck-3", "truck"))
    made = provision(changed, tmp_path)
    after = read_credentials(made.files)
    assert made.changed
    assert made.new == ("truck-3",)
    assert made.retired == ("truck-1",)
    assert "truck-1" not in after
    assert {user: after[user] for user in after if user != "truck-3"} == {
        user: before[user] for user in before if user != "truck-1"
    }


def test_a_deleted_line_gives_a_new_password(tmp_path: Path) -> None:
    """The documented way to change one."""
    files = provision(FEW, tmp_path).files
    before = read_credentials(files)
    lines = files.credentials.read_text(encoding="utf-8").splitlines(keepends=True)
    files.credentials.write_text("".join(x for x in lines if not x.startswith("gw-01:")), encoding="utf-8")
    made = provision(FEW, tmp_path)
    after = read_credentials(files)
    assert made.new == ("gw-01",)
    assert after["gw-01"] != before["gw-01"]
    assert after["gw-02"] == before["gw-02"]


def test_nobody_else_on_the_machine_can_read_the_secrets(tmp_path: Path) -> None:
    """0600 files in 0700 folders, whatever the umask."""
    made = provision(FEW, tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o700
    for path in (made.files.credentials, made.files.passwords, made.files.acl, made.files.password_of("server")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_full_city_is_provisioned_in_seconds(tmp_path: Path) -> None:
    """66,000 devices behind 500 gateways and 10,000 lone trucks: new in under 15 s of CPU, again in under 5 s."""
    gateways = [device(f"gw-{i}", "gateway") for i in range(500)]
    behind = [device(f"cell-{i}", "cell", gateway=f"gw-{i % 500}") for i in range(66_000)]
    trucks = [device(f"truck-{i}", "truck") for i in range(10_000)]
    began = time.process_time()
    made = provision([*gateways, *behind, *trucks], tmp_path)
    first_s = time.process_time() - began
    began = time.process_time()
    assert not provision([*gateways, *behind, *trucks], tmp_path).changed
    again_s = time.process_time() - began
    assert len(made.accounts) == 10_503
    assert first_s < 15
    assert again_s < 5
