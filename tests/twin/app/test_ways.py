"""The ways out: channels by configuration and environment, secrets from files, departments directed elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.twin.whistle.city import files
from twin.app.ways import direct, open_channels, unreached
from twin.channels.mail import Mail
from twin.errors import SettingsError
from twin.settings import Settings, commented, load_settings


def loaded(folder: Path, text: str, **env: str) -> Settings:
    path = folder / "citywhistle.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env)


def test_webhook_and_mqtt_are_always_there(tmp_path: Path) -> None:
    """Without any table there are two channels; each table adds its own."""
    assert sorted(open_channels(loaded(tmp_path, ""))) == ["mqtt", "webhook"]
    tables = "".join(f"[channels.{name}]\n" for name in ("mail", "dingtalk", "wecom", "feishu", "sms", "voice"))
    assert len(open_channels(loaded(tmp_path, tables))) == 8


def test_secrets_units_and_environment(tmp_path: Path) -> None:
    """A secret is read from its file, a duration takes a unit, the environment beats the file and adds channels."""
    secret = tmp_path / "secret"
    secret.write_text("hush\n", encoding="utf-8")
    text = f'[channels.mail]\nhost = "a"\nport = 25\npassword_file = "{secret}"\ntimeout_s = "1 min"\ntls = "none"\n'
    settings = loaded(tmp_path, text, CITYWHISTLE_CHANNELS_MAIL_HOST="b", CITYWHISTLE_CHANNELS_SMS_TO="12345")
    channels = open_channels(
        loaded(tmp_path, text, CITYWHISTLE_CHANNELS_MAIL_HOST="b", CITYWHISTLE_CHANNELS_WECOM_LANGUAGE="zh")
    )
    mail = channels["mail"]
    assert isinstance(mail, Mail)
    assert (mail._host, mail._port, mail._password, mail._timeout_s) == ("b", 25, "hush", 60.0)
    assert "wecom" in channels
    assert settings.channels["sms"].options == {"to": 12345}
    assert "hush" not in commented(settings)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A configuration with channels and departments survives being written and loaded."""
    text = '[channels.sms]\nto = "1"\nheaders = {a = "b"}\n[departments.lighting]\nchannel = "sms"\naddress = "110"\n'
    first = loaded(tmp_path, text)
    again = loaded(tmp_path, commented(first))
    assert {name: dict(told.options) for name, told in again.channels.items()} == {
        "sms": {"to": "1", "headers": {"a": "b"}}
    }
    assert (again.departments["lighting"].channel, again.departments["lighting"].address) == ("sms", "110")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[channels.dingtalk]\nsecret = "x"\n', ":2: secret stands in a file"),
        ('[channels.wecom]\nurl = "ftp://x"\n', ":2: channel wecom: url"),
        ("[channels.mail]\npassword_file = 3\n", ":2: password_file names one file"),
        ('[channels.webhook]\nurl = "http://a"\nurl_file = "/x"\n', ":3: url_file names one file"),
    ],
)
def test_mistakes_have_a_place(tmp_path: Path, text: str, words: str) -> None:
    """Whatever is wrong in a channel's table is said with file and line."""
    with pytest.raises(SettingsError) as refused:
        open_channels(loaded(tmp_path, text))
    assert f"citywhistle.toml{words}" in str(refused.value)


def test_departments_are_directed(tmp_path: Path) -> None:
    """A table sends its department elsewhere and no other; what no channel reaches is known."""
    settings = loaded(tmp_path, '[departments.lighting]\nchannel = "mail"\naddress = "a@b.org"\n')
    directed = {one.id: one for one in direct(files(), settings).departments}
    assert (directed["lighting"].channel, directed["lighting"].address) == ("mail", "a@b.org")
    assert directed["lighting_s1"] == next(one for one in files().departments if one.id == "lighting_s1")
    assert unreached(direct(files(), settings), settings) == {"lighting": "mail"}
    with pytest.raises(SettingsError, match=r"citywhistle.toml:1: the city has no department 'nobody'"):
        direct(files(), loaded(tmp_path, '[departments.nobody]\naddress = "x"\n'))
