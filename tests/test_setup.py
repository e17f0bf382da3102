"""The set-up: Makefile and its scripts, the wheel, and that small machines need no server package."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted([*(ROOT / "deploy/setup").glob("*.sh"), ROOT / ".ci/run"])


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder; its output as text."""
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_parse_and_can_be_run(script: Path) -> None:
    """Bash takes each script; those that are called are executable."""
    assert run("bash", "-n", str(script)).returncode == 0
    assert os.access(script, os.X_OK)


def test_make_alone_shows_the_commands() -> None:
    """Somebody who types `make` learns what there is, and nothing is done."""
    said = run("make").stdout
    for target in ("install", "demo", "test", "check", "bench", "soak", "clean"):
        assert f"make {target} " in said


def test_demo_hands_its_variables_on_as_options() -> None:
    """ARGS, STORE and BROKER reach the command line."""
    said = run("make", "-n", "demo", "STORE=influxdb", "BROKER=192.0.2.7:1883", "ARGS=--duration 9").stdout
    assert "citywhistle demo --store influxdb --broker 192.0.2.7:1883 --duration 9" in said


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench", "soak"])
def test_every_command_sets_up_what_it_needs(target: str) -> None:
    """From a bare clone each of them installs first."""
    said = run("make", "-n", target, "PY=.venv/bin/python", "--assume-new=pyproject.toml").stdout
    assert "deploy/setup/python.sh" in said
    assert "deploy/setup/broker.sh" in said


def test_a_second_install_has_nothing_to_do() -> None:
    """After `make install` only the look for a broker is left."""
    if not (ROOT / ".venv/.installed").exists():
        pytest.skip("this environment was not made by `make install`")
    said = run("make", "-n", "install").stdout
    if "python.sh" in said:
        pytest.skip("pyproject.toml has changed since `make install`")
    assert "npm" not in said


def test_the_pypi_lists_are_bounded_and_complete() -> None:
    """Every third-party module that the code imports is in a list of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    listed = {re.split(r"[<>=\[;!~ ]", r)[0].lower().replace("-", "_") for one in lists for r in one}
    modules = {"paho": "paho_mqtt", "starlette": "fastapi", "pydantic": "fastapi", "click": "typer"}
    modules |= {"urllib3": "influxdb_client", "PIL": "pillow", "argon2": "argon2_cffi"}
    own = {"devices", "edge", "twin", "dashboards", "tests", "bench"}
    found: set[str] = set()
    for folder in (*own, "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            if "node_modules" not in path.parts:
                text = path.read_text(encoding="utf-8")
                found |= set(re.findall(r"^\s*(?:import|from) ([a-zA-Z_]\w*)", text, re.MULTILINE))
    outside = {m for m in found if m not in own and m not in sys.stdlib_module_names and m != "__future__"}
    unlisted = {m for m in outside if modules.get(m, m) not in listed}
    # Words of prose in docstrings can look like imports; only what can really be imported counts.
    assert not {m for m in unlisted if run(sys.executable, "-c", f"import {m}").returncode == 0}


@pytest.fixture
def index() -> Iterator[tuple[str, dict[str, str]]]:
    """A package index on loopback that offers two releases of pip: its address, and the hashes that it tells."""
    wheels = {
        "pip-9.0-py3-none-any.whl": b"old",
        "pip-24.2-py3-none-any.whl": b"new",
        "pip-25.0rc1-py3-none-any.whl": b"rc",
    }
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in wheels.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[1]
            listing = [
                {"filename": n, "url": f"/files/{n}", "hashes": {"sha256": hashes[n]}, "yanked": False} for n in wheels
            ]
            body = wheels[name] if name in wheels else json.dumps({"files": listing}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple", hashes
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pip_is_fetched_where_there_is_none(index: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """The newest final release comes, from the index that is configured."""
    said = run(sys.executable, "deploy/setup/fetch_pip.py", str(tmp_path), PIP_INDEX_URL=index[0], no_proxy="127.0.0.1")
    assert said.stdout.strip() == str(tmp_path / "pip-24.2-py3-none-any.whl"), said.stderr
    assert (tmp_path / "pip-24.2-py3-none-any.whl").read_bytes() == b"new"


def test_a_pip_that_is_not_what_the_index_names_is_refused(index: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """A wrong SHA-256 ends the set-up; nothing is written."""
    index[1]["pip-24.2-py3-none-any.whl"] = "0" * 64
    said = run(sys.executable, "deploy/setup/fetch_pip.py", str(tmp_path), PIP_INDEX_URL=index[0], no_proxy="127.0.0.1")
    assert said.returncode != 0
    assert "SHA-256" in said.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    assert made.returncode == 0, made.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_runs_and_not_what_builds(wheel: Path) -> None:
    """Broker configuration, shipped city, mappings and types travel; the page's sources and the tests stay."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "twin/broker/mosquitto.conf",
        "devices/cities/helsinki/city.toml",
        "devices/mappings/beijing_air.toml",
        "devices/py.typed",
    } <= names
    if (ROOT / "dashboards/page/dist/index.html").exists():
        assert "dashboards/page/dist/index.html" in names
    assert not [n for n in names if n.startswith(("tests/", "bench/")) or "node_modules" in n or n.endswith(".ts")]


def test_the_wheel_alone_finds_its_broker_configuration_and_city(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, away from the checkout, it renders the same configuration."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "from twin.broker.conf import template_path; from devices.cities.load import load_city;"
        "import pathlib, devices.cities as c;"
        "print(template_path());"
        "print(len(load_city(pathlib.Path(c.__file__).parent / 'helsinki').devices))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    place, devices = said.stdout.split()
    assert place == str(tmp_path / "twin/broker/mosquitto.conf")
    assert int(devices) > 100


def test_devices_and_edge_import_nothing_of_the_server() -> None:
    """Really imported in a fresh interpreter, every module of both: no package outside the base list comes in."""
    code = (
        "import importlib, pkgutil, sys\n"
        "for root in ('devices', 'edge'):\n"
        "    package = importlib.import_module(root)\n"
        "    for module in pkgutil.walk_packages(package.__path__, root + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print(' '.join(sorted({m.split('.')[0] for m in sys.modules})))\n"
    )
    said = run(sys.executable, "-c", code)
    assert said.returncode == 0, said.stderr
    server = {"numpy", "msgspec", "cbor2", "duckdb", "pyarrow", "fastapi", "httpx", "sqlalchemy", "psutil", "shapely"}
    assert not server & set(said.stdout.split())
