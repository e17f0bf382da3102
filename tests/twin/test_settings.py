"""The configuration: defaults, overrides, units, and errors that say where and how to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.errors import SettingsError
from twin.settings import Settings, commented, load_settings, read_secret


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "citywhistle.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_commented_file_says_the_defaults(tmp_path: Path) -> None:
    """What `config init` writes loads back as exactly the defaults."""
    assert load_settings(written(tmp_path, commented()), {}) == Settings()


def test_every_key_is_overridden_by_environment(tmp_path: Path) -> None:
    """An environment variable beats the file, top level and in a section."""
    path = written(tmp_path, "[broker]\nport = 1884\n")
    loaded = load_settings(path, {"CITYWHISTLE_BROKER_PORT": "1999", "CITYWHISTLE_DATA_DIR": "elsewhere"})
    assert (loaded.broker.port, loaded.data_dir) == (1999, "elsewhere")


def test_amounts_take_units_of_their_dimension(tmp_path: Path) -> None:
    """Durations and sizes accept a text with a unit of the same dimension."""
    path = written(tmp_path, '[journal]\nmax_bytes = "64 MiB"\ncheckpoint_every_s = "2 min"\n')
    loaded = load_settings(path, {})
    assert (loaded.journal.max_bytes, loaded.journal.checkpoint_every_s) == (64 << 20, 120.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[broker]\nhost = 'x'\nprot = 1\n", 3, "unknown key 'prot'"),
        ("\n[nonsense]\na = 1\n", 2, "unknown key 'nonsense'"),
        ('[journal]\nmax_bytes = "5 min"\n', 2, "units B, kB"),
        ('[tick]\ninterval_s = "3 MB"\n', 2, "units ms, s"),
        ('[web]\nport = "80 s"\n', 2, "without a unit"),
        ("[web]\nport = -1\n", 2, "out of range"),
        ("[broker]\ntls = 3\n", 2, "true or false"),
        ("web = 3\n", 1, "is a section"),
        ("[web]\nport = 99999\n", 2, "at most 65535"),
        ("[web]\nport = inf\n", 2, "out of range"),
        ("[tick]\ninterval_s = 0\n", 2, "at least 0.05"),
        ("[store]\nkind = 'foo'\n", 2, "one of embedded"),
        ("[broker]\nmqtt_version = 7\n", 2, "one of 4, 5"),
        ("[city]\ndir = 3\n", 2, "text in quotes"),
    ],
)
def test_a_wrong_key_names_file_line_and_fix(tmp_path: Path, text: str, line: int, words: str) -> None:
    """Unknown keys and wrong units or types are refused with file and line."""
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        load_settings(path, {})
    assert f"citywhistle.toml:{line}:" in str(refused.value)
    assert words in str(refused.value)


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    """A file that is no TOML, or is not there, is an error that says so."""
    with pytest.raises(SettingsError, match="not TOML"):
        load_settings(written(tmp_path, "a = = 1"), {})
    with pytest.raises(SettingsError, match="config init"):
        load_settings(tmp_path / "absent.toml", {})


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """A secret is the stripped text of its file; no file named means no secret; a missing file is an error."""
    (tmp_path / "p").write_text("hush\n", encoding="utf-8")
    assert read_secret(str(tmp_path / "p")) == "hush"
    assert read_secret("") == ""
    with pytest.raises(SettingsError, match="cannot be read"):
        read_secret(str(tmp_path / "absent"))


def test_a_misspelt_override_is_refused() -> None:
    """An environment variable that names a section but no key of it does not pass unnoticed."""
    with pytest.raises(SettingsError, match="CITYWHISTLE_BROKER_PROT: no such key"):
        load_settings(None, {"CITYWHISTLE_BROKER_PROT": "5"})
