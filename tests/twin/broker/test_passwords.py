"""Passwords in Mosquitto's own form."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

from twin.broker.passwords import fits, hash_password, new_password, parse_pairs


def test_a_hash_fits_its_password_and_no_other() -> None:
    """Round trip, and a salt of its own each time."""
    word = new_password()
    assert fits(word, hash_password(word))
    assert not fits(word + "x", hash_password(word))
    assert hash_password(word) != hash_password(word)


@pytest.mark.parametrize("junk", ["", "plain", "$6$1$aa$bb", "$7$x$AA==$AA==", "$7$101$!$AA==", "$7$0$AA==$AA=="])
def test_what_is_no_hash_fits_nothing(junk: str) -> None:
    """A damaged password file refuses, it does not raise."""
    assert not fits("word", junk)


def test_mosquitto_itself_makes_the_same_form(tmp_path: Path) -> None:
    """mosquitto_passwd's own line is understood, so the form is Mosquitto's."""
    if which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed here; the broker tests log in with our hashes anyway")
    file = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", file, "anna", "secret"], check=True, capture_output=True)
    assert fits("secret", parse_pairs(file.read_text(encoding="utf-8"))["anna"])


def test_lines_without_a_user_or_a_word_are_not_taken() -> None:
    """Comments, empty lines and halves are no credentials."""
    assert parse_pairs("# a:b\n\nanna:x:y\n:z\nbob:\nnothing\n") == {"anna": "x:y"}
