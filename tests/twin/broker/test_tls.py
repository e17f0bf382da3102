"""A TLS listener by configuration: encrypted, checked, and with client certificates where a site wants them."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.broker import guarded_broker
from tests.twin.broker.registry import FEW
from tests.twin.broker.talk import Talk
from twin.broker.conf import Tls
from twin.broker.process import free_port
from twin.broker.provision import provision, read_credentials

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority for this test run."""
    return trustme.CA()


def listener(authority: trustme.CA, folder: Path, *, require_certificate: bool = False) -> Tls:
    """A TLS listener with a certificate of that authority."""
    folder.mkdir(parents=True, exist_ok=True)
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    return Tls(
        free_port(),
        folder / "ca.pem",
        folder / "cert.pem",
        folder / "key.pem",
        require_certificate=require_certificate,
    )


def test_users_and_rights_hold_over_tls_as_well(tmp_path: Path, authority: trustme.CA) -> None:
    """The same password opens, a wrong one does not, and a foreign topic is refused."""
    words = read_credentials(provision(FEW, tmp_path / "b").files)
    tls = listener(authority, tmp_path / "pem")
    with guarded_broker(tmp_path / "b", tls):
        one, thief = Talk("gw-01", words["gw-01"], "one"), Talk("gw-01", "wrong", "thief")
        for each in (one, thief):
            each.client.tls_set(str(tmp_path / "pem/ca.pem"))
        try:
            assert one.connect("localhost", tls.port) == 0
            assert one.publish("city/d1/pole/pole-1/telemetry", "x") in (0, 0x10)
            assert one.publish("city/d1/pole/pole-2/telemetry", "x") == 0x87
            assert thief.connect("localhost", tls.port) == 0x87
        finally:
            one.close()
            thief.close()


def test_a_client_that_does_not_know_the_authority_does_not_connect(tmp_path: Path, authority: trustme.CA) -> None:
    """The certificate is checked: an unknown authority ends the handshake."""
    provision(FEW, tmp_path / "b")
    tls = listener(authority, tmp_path / "pem")
    trusting_another = ssl.create_default_context()
    trustme.CA().configure_trust(trusting_another)
    with (
        guarded_broker(tmp_path / "b", tls),
        socket.create_connection(("127.0.0.1", tls.port), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        trusting_another.wrap_socket(plain, server_hostname="localhost")


def test_with_client_certificates_the_certificate_is_the_user(tmp_path: Path, authority: trustme.CA) -> None:
    """No certificate, no connection; with one its common name decides what may be written."""
    provision(FEW, tmp_path / "b")
    tls = listener(authority, tmp_path / "pem", require_certificate=True)
    own = authority.issue_cert("gw-01.example", common_name="gw-01")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    with guarded_broker(tmp_path / "b", tls):
        one = Talk("", "", "one")
        one.client.tls_set(str(tmp_path / "pem/ca.pem"), str(tmp_path / "own.pem"), str(tmp_path / "own.key"))
        bare = Talk("", "", "bare")
        bare.client.tls_set(str(tmp_path / "pem/ca.pem"))
        try:
            assert one.connect("localhost", tls.port) == 0
            assert one.publish("city/d1/pole/pole-1/telemetry", "x") in (0, 0x10)
            assert one.publish("city/d1/pole/pole-2/telemetry", "x") == 0x87
            with pytest.raises((ssl.SSLError, OSError, AssertionError)):
                assert bare.connect("localhost", tls.port) == 0
        finally:
            one.close()
            bare.close()
