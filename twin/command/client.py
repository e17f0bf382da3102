"""The running server as the command line sees it: its address and token from the data directory, its API over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import typer
from rich.console import Console
from rich.text import Text

from twin.errors import SettingsError
from twin.settings import Settings, load_settings, read_secret

if TYPE_CHECKING:
    from twin.access.veil import Veil

ERR = Console(stderr=True)
OUT = Console()

ANSWER_S = 30.0
COPY_S = 600.0  # a copy of the store seals an hour of the city first

CONFIG = typer.Option(None, "--config", "-c", help="The TOML file that the server was started with.")
JSON = typer.Option(False, "--json", help="Print JSON for scripts.")


def words(told: object) -> Text:
    """A line or cell as it was told: "[web] port" is no markup, and what devices say does not steer the terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(told)))


def clock(ms: int) -> str:
    """A time for people, with its year, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


def fail(message: str, code: int = 1) -> typer.Exit:
    """Say what is wrong on standard error; raise what is returned."""
    ERR.print(Text("citywhistle: ", "red") + words(message), highlight=False, soft_wrap=True)
    return typer.Exit(code)


def settings_of(config: Path | None) -> Settings:
    """The settings of a file or of ./citywhistle.toml if it is there; ends the command with the reason if wrong."""
    if config is None and Path("citywhistle.toml").exists():
        config = Path("citywhistle.toml")
    try:
        return load_settings(config)
    except SettingsError as error:
        raise fail(str(error), 2) from error


class Client:
    """HTTP to the server whose data directory the settings name, or to CITYWHISTLE_URL.

    CITYWHISTLE_TOKEN (or the file that CITYWHISTLE_TOKEN_FILE names) says as whom; without it the key in the data
    directory is used, which is the administrator's.
    """

    def __init__(self, config: Path | None) -> None:
        """Find the server. Ends the command with what to do when none runs there."""
        token, url = _token(), os.environ.get("CITYWHISTLE_URL", "").rstrip("/")
        self._trust: ssl.SSLContext | bool = True
        if url:
            if not token:
                raise fail("CITYWHISTLE_URL needs CITYWHISTLE_TOKEN (`citywhistle tokens create` makes one)", 2)
            self.url, self._key = url, {"Authorization": f"Bearer {token}"}
            return
        found = runs_in(config)
        if found is None:
            raise fail("no server is running here; start one with `citywhistle up` or `citywhistle demo`")
        told = read_note(found)
        if told is None:
            raise fail(f"the server that {found} speaks of has ended; start it again with `citywhistle up`")
        self.url = str(told["url"])
        self._key = {"Authorization": f"Bearer {token or told['token']}"}
        self._trust = pinned(str(told.get("ca", "")))

    def get(self, path: str, **query: str | int | bool) -> Any:
        """GET as JSON. Ends the command with the server's own words on an error."""
        return self._answer("GET", path, query, None)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """PUT as JSON."""
        return self._answer("PUT", path, {}, body)

    def post(self, path: str, body: dict[str, Any], key: str = "", within_s: float = ANSWER_S) -> Any:
        """POST as JSON; `key` makes a repeated call one action."""
        return self._answer("POST", path, {}, body, {"Idempotency-Key": key} if key else {}, within_s=within_s)

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        content: bytes | None = None,
        key: str = "",
        **query: str | int | bool,
    ) -> Any:
        """Any call with a JSON body, or with `content` as it is; `key` makes a repeated call one action."""
        return self._answer(method, path, query, body, {"Idempotency-Key": key} if key else {}, content)

    def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: dict[str, Any] | None,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        within_s: float = ANSWER_S,
    ) -> Any:
        try:
            answer = httpx.request(
                method, self.url + path, params=query, json=body, content=content,
                headers=self._key | (headers or {}), timeout=within_s, trust_env=False, verify=self._trust,
            )  # fmt: skip
        except httpx.HTTPError as error:
            raise fail(f"{self.url} does not answer ({error}); `citywhistle doctor` looks into it") from error
        try:
            told = answer.json()
        except ValueError:
            told = answer.text if answer.status_code < 400 else {"error": answer.text[:300]}  # CSV is text
        if answer.status_code >= 400:
            for one in (told.get("errors") or [])[1:50] if isinstance(told, dict) else ():
                where = f"{one['table']} {one['id']}" + (f", {one['field']}" if one["field"] else "")
                ERR.print(words(f"  {where}: {one['problem']} ({one['fix']})"), soft_wrap=True, highlight=False)
            fix = f" ({told['fix']})" if isinstance(told, dict) and told.get("fix") else ""
            said = (told.get("detail") or told.get("error", told)) if isinstance(told, dict) else told
            raise fail(f"{said}{'' if fix and fix[2:-1] in str(said) else fix}", 4 if answer.status_code == 404 else 1)
        return told


def _token() -> str:
    """The token of the environment; '' for none."""
    file = os.environ.get("CITYWHISTLE_TOKEN_FILE", "")
    try:
        return read_secret(file) if file else os.environ.get("CITYWHISTLE_TOKEN", "").strip()
    except SettingsError as error:
        raise fail(str(error), 2) from error


def pinned(cert_file: str) -> ssl.SSLContext | bool:
    """Trust in the very certificate of a server on this machine, whatever names it is for; True where it has none."""
    if not cert_file:
        return True
    try:
        context = ssl.create_default_context(cafile=cert_file)
    except OSError as error:
        raise fail(f"{cert_file}: the server's certificate cannot be read ({error})") from error
    context.check_hostname = False  # it is asked by its loopback address; the certificate itself is what we know
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def read_note(path: Path) -> dict[str, Any] | None:
    """What a running server says of itself: url, token, pid. None where there is none, or its process has gone."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        pid, _, _ = int(told["pid"]), told["url"], told["token"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return told  # it lives, as another user
    return told


def runs_in(config: Path | None) -> Path | None:
    """The note of a running server: of the configured data directory, else of the demo's."""
    places = [Path(settings_of(config).data_dir)]
    if config is None:
        places += Path(".citywhistle/demo").glob("*/data")
    notes = [place / "running.json" for place in places if (place / "running.json").exists()]
    return next((note for note in notes if read_note(note) is not None), notes[0] if notes else None)


def file_of_running() -> Path | None:
    """The configuration that lies beside the data directory of the server that runs here, as the demo's does."""
    note = runs_in(None)
    beside = note.parent.parent / "citywhistle.toml" if note is not None else None
    return beside if beside is not None and beside.exists() else None


def running(config: Path | None) -> bool:
    """Whether a server runs here; what one that was killed left behind counts for nothing."""
    note = runs_in(config)
    return note is not None and read_note(note) is not None


def veil_of(settings: Settings) -> Veil:
    """What is personal as it may stand on a screen, by the server's own key; by a passing one where no server was."""
    from twin.access.veil import FILE, KEY_BYTES, Veil, veil_key

    data = Path(settings.data_dir)
    return Veil(veil_key(data / FILE) if data.is_dir() else secrets.token_bytes(KEY_BYTES))
