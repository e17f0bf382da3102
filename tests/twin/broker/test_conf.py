"""The configuration that is rendered from the one commented mosquitto.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.broker.conf import BrokerConfError, BrokerFiles, Tls, render, render_for, render_tls, template_path


def directives(text: str) -> dict[str, list[str]]:
    """Values by directive."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, value = line.partition(" ")
            found.setdefault(word, []).append(value)
    return found


def test_only_port_and_folders_differ_from_the_shipped_file(tmp_path: Path) -> None:
    """What the demo and the tests run is the shipped text but for the places that they need."""
    shipped = directives(template_path().read_text(encoding="utf-8"))
    ours = directives(render_for(BrokerFiles(tmp_path), 1999))
    differing = {key for key in shipped if shipped[key] != ours[key]}
    assert differing == {"listener", "password_file", "acl_file", "persistence_location", "include_dir"}
    assert shipped.keys() == ours.keys()
    assert ours["listener"] == ["1999 127.0.0.1"]


def test_the_shipped_file_keeps_the_numbers_that_were_measured() -> None:
    """The defaults lose data: these are the values that docs/broker.md explains."""
    shipped = directives(template_path().read_text(encoding="utf-8"))
    assert shipped["max_queued_messages"] == ["0"]
    assert shipped["max_queued_bytes"] == [str(256 << 20)]
    assert int(shipped["max_inflight_messages"][0]) >= 20_000
    assert shipped["per_listener_settings"] == ["false"]
    assert shipped["allow_anonymous"] == ["false"]
    assert shipped["listener"] == ["1883 127.0.0.1"]
    assert "memory_limit" not in shipped
    assert "message_size_limit" not in shipped


def test_every_number_of_the_shipped_file_is_explained() -> None:
    """Each block of directives stands below a comment."""
    blocks = template_path().read_text(encoding="utf-8").split("\n\n")
    for block in blocks:
        assert block.startswith("#"), block


def test_a_directive_that_is_missing_or_doubled_is_named() -> None:
    """A template that lacks what must be replaced would run on the wrong folder, silently."""
    with pytest.raises(BrokerConfError, match="`acl_file` exactly once, and says it 0 times"):
        render("listener 1883", {"acl_file": "x"})
    with pytest.raises(BrokerConfError, match="says it 2 times"):
        render("listener 1883\nlistener 1884", {"listener": "1"})
    with pytest.raises(BrokerConfError, match="cannot span lines"):
        render("listener 1883", {"listener": "1\nallow_anonymous true"})


def test_a_comment_that_mentions_a_directive_is_left_alone() -> None:
    """Comments explain directives by name."""
    assert render("# listener 1\nlistener 2", {"listener": "3"}) == "# listener 1\nlistener 3"


def test_a_tls_listener_with_client_certificates_takes_the_user_from_them(tmp_path: Path) -> None:
    """With require_certificate the certificate is the identity."""
    said = directives(render_tls(Tls(8883, tmp_path / "ca", tmp_path / "c", tmp_path / "k", require_certificate=True)))
    assert said["use_identity_as_username"] == ["true"]
    assert said["require_certificate"] == ["true"]
