"""The broker's configuration: the commented mosquitto.conf of the project, with other ports and folders put in.

There is one truth, the template; `render` replaces the values of directives that it holds and refuses to add any, so
that the demo and the tests cannot drift away from what plain `mosquitto -c mosquitto.conf` runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twin.errors import TwinError

HOME = Path(".citywhistle/broker")  # the folder that the shipped mosquitto.conf names


class BrokerConfError(TwinError):
    """The broker's configuration cannot be made: the message says which line is wanted."""


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Where a broker keeps what: everything lies in one directory of its own, readable by its owner alone."""

    dir: Path

    @property
    def passwords(self) -> Path:
        """Mosquitto's password file: hashes."""
        return self.dir / "passwords"

    @property
    def acl(self) -> Path:
        """Mosquitto's access list."""
        return self.dir / "acl"

    @property
    def credentials(self) -> Path:
        """`user:password` by line, for our own senders."""
        return self.dir / "credentials"

    @property
    def data(self) -> Path:
        """Saved sessions and waiting messages."""
        return self.dir / "data"

    @property
    def extra(self) -> Path:
        """Further `*.conf` files: TLS listeners, a site's own overrides."""
        return self.dir / "conf.d"

    @property
    def conf(self) -> Path:
        """The rendered configuration."""
        return self.dir / "mosquitto.conf"

    @property
    def log(self) -> Path:
        """What the broker wrote to stderr."""
        return self.dir / "broker.log"

    @property
    def pid(self) -> Path:
        """Process id, start time and port of the broker that runs on this directory."""
        return self.dir / "broker.pid"

    def password_of(self, user: str) -> Path:
        """A file that holds one user's password alone (server and monitor have one)."""
        return self.dir / f"{user}.password"


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS listener: PEM files, and whether clients must show a certificate of that authority."""

    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path
    host: str = "127.0.0.1"
    require_certificate: bool = False


def template_path() -> Path:
    """The shipped mosquitto.conf: beside this file in an installed wheel, at the project's root in a checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "mosquitto.conf", here.parents[1] / "mosquitto.conf"):
        if candidate.is_file():
            return candidate
    raise BrokerConfError(f"mosquitto.conf is missing beside {here}; install citywhistle again")


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with the value of each named directive replaced; comments and order stay.

    Raises BrokerConfError when the template lacks a directive or holds it twice.

    >>> render("listener 1883 127.0.0.1  # plain", {"listener": "1999"})
    'listener 1999'
    """
    lines = template.split("\n")
    for directive, value in values.items():
        if "\n" in value:
            raise BrokerConfError(f"{directive}: a value of the broker's configuration cannot span lines")
        at = [i for i, line in enumerate(lines) if line.split(" ", 1)[0] == directive]
        if len(at) != 1:
            raise BrokerConfError(f"mosquitto.conf must say `{directive}` exactly once, and says it {len(at)} times")
        lines[at[0]] = f"{directive} {value}"
    return "\n".join(lines)


def render_for(files: BrokerFiles, port: int, host: str = "127.0.0.1", template: str | None = None) -> str:
    """The shipped configuration for a broker that lives in `files.dir` and listens on `host`:`port`."""
    text = template_path().read_text(encoding="utf-8") if template is None else template
    home = files.dir.resolve()
    return render(
        text,
        {
            "listener": f"{port} {host}",
            "password_file": str(home / files.passwords.name),
            "acl_file": str(home / files.acl.name),
            "persistence_location": str(home / files.data.name),
            "include_dir": str(home / files.extra.name),
        },
    )


def render_tls(tls: Tls) -> str:
    """A TLS listener, for a file in the folder that `include_dir` names. Users and access list stay the same."""
    lines = [
        f"listener {tls.port} {tls.host}",
        f"cafile {tls.ca_file.resolve()}",
        f"certfile {tls.cert_file.resolve()}",
        f"keyfile {tls.key_file.resolve()}",
        "tls_version tlsv1.2",
        f"require_certificate {'true' if tls.require_certificate else 'false'}",
        f"use_identity_as_username {'true' if tls.require_certificate else 'false'}",
    ]
    return "\n".join(lines) + "\n"
