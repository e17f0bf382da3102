"""Writing the broker's users: passwords, access list, and the secrets of our own senders. May be run again any time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devices.places import Device
from twin.broker.access import MONITOR, REPLAY, SERVER, Account, access_list, accounts
from twin.broker.conf import BrokerFiles
from twin.broker.passwords import hash_password, new_password, parse_pairs


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What provisioning did: all accounts, users that are new, users that are gone, and whether any file changed."""

    files: BrokerFiles
    accounts: tuple[Account, ...]
    new: tuple[str, ...]
    retired: tuple[str, ...]
    changed: bool


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> bool:
    """Replace a file by a private one (0600; new file, sync, rename) unless it holds the text already."""
    if path.exists() and _text(path) == text:
        return False
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)
    return True


def provision(devices: Iterable[Device], directory: Path) -> Provisioned:
    """Make the users of a city's devices in `directory`; a running broker reads them on SIGHUP (`reload_broker`).

    Whoever has a password keeps it, new users get one, retired ones lose theirs; to change one, delete its line in
    `credentials` and provision again. The plain passwords lie in `credentials` (`user:password` by line; server,
    monitor and replay also in `<user>.password`), readable by the owner alone. Raises AccessError, OSError.
    """
    files = BrokerFiles(directory)
    wanted = accounts(devices)
    for folder in (files.dir, files.data, files.extra):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known, hashes = parse_pairs(_text(files.credentials)), parse_pairs(_text(files.passwords))
    plain: dict[str, str] = {}
    hashed: dict[str, str] = {}
    new: list[str] = []
    for account in wanted:
        user = account.user
        if user in known and user in hashes:
            plain[user], hashed[user] = known[user], hashes[user]
            continue
        new.append(user)
        plain[user] = new_password()
        hashed[user] = hash_password(plain[user])
    changed = _write(files.credentials, "".join(f"{user}:{word}\n" for user, word in plain.items()))
    changed |= _write(files.passwords, "".join(f"{user}:{word}\n" for user, word in hashed.items()))
    changed |= _write(files.acl, access_list(wanted))
    for user in (SERVER, MONITOR, REPLAY):
        changed |= _write(files.password_of(user), plain[user] + "\n")
    return Provisioned(files, wanted, tuple(new), tuple(sorted(hashes.keys() - hashed.keys())), changed)


def read_credentials(files: BrokerFiles) -> dict[str, str]:
    """Passwords by user, as provisioned. Raises FileNotFoundError before that."""
    return parse_pairs(files.credentials.read_text(encoding="utf-8"))
