"""`citywhistle users | tokens`: who may come in. Works on the data directory itself, server or no server."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.table import Table

from devices.errors import DeviceError
from twin.access import Access
from twin.access.access import FILE
from twin.access.passwords import SHORTEST
from twin.access.roles import GRANTS, ROLES, WORDS
from twin.command.client import CONFIG, JSON, OUT, clock, fail, settings_of, words
from twin.errors import AccessError
from twin.settings import Settings

users = typer.Typer(no_args_is_help=True, help="People who may log in. 用户管理。")
tokens = typer.Typer(no_args_is_help=True, help="Tokens of programs: shown once, expiring. 程序令牌。")

NAME = typer.Argument(..., help="Log-in name: a-z, 0-9, dot, dash, underscore.")
ROLE = typer.Option(..., help=" | ".join(ROLES))
DEPARTMENTS = typer.Option([], "--department", "-d", help="Of the role department: id in the city's files; repeatable.")
STDIN = typer.Option(False, "--password-stdin", help="Read the password from standard input, for scripts.")


@users.command()
def add(
    name: str = NAME,
    role: str = ROLE,
    config: Path | None = CONFIG,
    full_name: str = typer.Option("", "--full-name", help="What people call the person."),
    department: list[str] = DEPARTMENTS,
    stdin: bool = STDIN,
    as_json: bool = JSON,
) -> None:
    """Add a user. 添加用户。"""
    with _open(config) as (access, settings):
        _departments(settings, department)
        made = access.users.add(
            name, _new_password(stdin), role, _console(), full_name=full_name, departments=department
        )
    if as_json:
        OUT.print_json(data=asdict(made))
    else:
        OUT.print(words(f"{name} may log in as {role}. {name} 已添加，角色：{WORDS[role][1]}。"), soft_wrap=True)


@users.command("list")
def list_users(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Everybody who has an account. 用户列表。"""
    with _open(config) as (access, _):
        found = access.users.all()
    if as_json:
        OUT.print_json(data=[asdict(one) for one in found])
        return
    table = Table("name", "full name", "role", "departments", "state", "last log-in (UTC)", box=None)
    for one in found:
        state = "disabled" if one.disabled else "active"
        table.add_row(one.name, words(one.full_name), one.role, " ".join(one.departments), state, clock(one.seen_ms))
    OUT.print(table if found else "Nobody yet. `citywhistle users add NAME --role admin` makes the first user.")


@users.command()
def passwd(name: str = NAME, config: Path | None = CONFIG, stdin: bool = STDIN) -> None:
    """Give a user another password; the user's sessions end. 重设密码。"""
    with _open(config) as (access, _):
        access.users.set_password(name, _new_password(stdin), _console())
    OUT.print(words(f"{name} has another password; sessions ended. {name} 密码已更改，会话已结束。"), soft_wrap=True)


@users.command()
def role(
    name: str = NAME,
    to: str = typer.Argument(..., metavar="ROLE", help=" | ".join(ROLES)),
    config: Path | None = CONFIG,
    department: list[str] = DEPARTMENTS,
) -> None:
    """Give a user another role, at once. 更改角色。"""
    with _open(config) as (access, settings):
        _departments(settings, department)
        access.users.change_role(name, to, department, _console())
    OUT.print(words(f"{name} is {to} now. {name} 的角色已改为{WORDS[to][1]}。"), soft_wrap=True)


@users.command()
def disable(
    name: str = NAME,
    config: Path | None = CONFIG,
    again: bool = typer.Option(False, "--undo", help="Let the user in again."),
) -> None:
    """Let a user in no more; sessions and tokens stop at once. 停用用户。"""
    with _open(config) as (access, _):
        access.users.disable(name, _console(), disabled=not again)
    told = "may log in again. 已恢复。" if again else "may not log in any more. 已停用。"
    OUT.print(words(f"{name} {told}"), soft_wrap=True)


@users.command()
def remove(name: str = NAME, config: Path | None = CONFIG) -> None:
    """Forget a user, with sessions and tokens; histories keep the name. 删除用户。"""
    with _open(config) as (access, _):
        access.users.remove(name, _console())
    OUT.print(words(f"{name} is removed. {name} 已删除。"), soft_wrap=True)


@tokens.command()
def create(
    name: str = typer.Argument(..., help="What the token is for: a-z, 0-9, dot, dash, underscore."),
    role: str = typer.Option(..., help=" | ".join(GRANTS)),
    config: Path | None = CONFIG,
    days: float = typer.Option(90.0, min=0.01, max=730, help="It expires after so many days."),
    user: str = typer.Option("", help="Act as this user, within the role."),
    department: list[str] = DEPARTMENTS,
    as_json: bool = JSON,
) -> None:
    """Make a token; it is shown this once. 创建令牌，仅显示一次。"""
    with _open(config) as (access, settings):
        _departments(settings, department)
        secret, made = access.tokens.create(name, role, days, _console(), user=user, departments=department)
    if as_json:
        OUT.print_json(data={"token": secret, **asdict(made)})
        return
    OUT.print(words(secret), soft_wrap=True, highlight=False)
    OUT.print(
        words(
            f"Send it as Authorization: Bearer, or set CITYWHISTLE_TOKEN. It expires {clock(made.expires_ms)} UTC and "
            "is not shown again. 令牌仅显示一次，请妥善保存。"
        ),
        soft_wrap=True,
    )


@tokens.command("list")
def list_tokens(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Every token, without its secret. 令牌列表。"""
    with _open(config) as (access, _):
        found = access.tokens.all()
    if as_json:
        OUT.print_json(data=[asdict(one) for one in found])
        return
    table = Table("id", "name", "role", "user", "departments", "expires (UTC)", "last used (UTC)", box=None)
    for one in found:
        told = (one.id, one.name, one.role, one.user, " ".join(one.departments))
        table.add_row(*told, clock(one.expires_ms), clock(one.seen_ms))
    OUT.print(table if found else "No tokens.")


@tokens.command()
def revoke(
    token: str = typer.Argument(..., metavar="ID", help="The id that `tokens list` shows."),
    config: Path | None = CONFIG,
) -> None:
    """End a token at once. 吊销令牌。"""
    with _open(config) as (access, _):
        made = access.tokens.revoke(token, _console())
    OUT.print(words(f"{made.name} ({token}) is revoked. 令牌已吊销。"), soft_wrap=True)


@contextlib.contextmanager
def _open(config: Path | None) -> Iterator[tuple[Access, Settings]]:
    """The data directory's users; ends the command with the reason where that cannot be."""
    settings = settings_of(config)
    try:
        with contextlib.closing(Access(Path(settings.data_dir) / FILE)) as access:
            yield access, settings
    except AccessError as error:
        raise fail(f"{error} / {error.zh}" if error.zh != str(error) else str(error),
                   4 if error.why == "unknown" else 1) from error  # fmt: skip


def _departments(settings: Settings, named: list[str]) -> None:
    if not named:
        return
    from devices.cities.load import load_city

    try:
        there = [one.id for one in load_city(settings.city.dir or "helsinki").departments]
    except DeviceError as error:
        raise fail(str(error), 2) from error
    strange = [one for one in named if one not in there]
    if strange:
        raise AccessError(
            f"the city has no department {strange[0]!r} (it has: {', '.join(there)})", f"城市没有部门“{strange[0]}”"
        )


def _new_password(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise fail("no terminal to ask for the password on; give it by --password-stdin", 2)
    first = getpass.getpass(f"Password ({SHORTEST} letters or more) 密码: ")
    if first != getpass.getpass("Once more 再次输入: "):
        raise fail("the two are not the same / 两次输入不一致")
    return first


def _console() -> str:
    """Who sits at the machine: the books tell changes made here from those made by users."""
    try:
        return f"console {getpass.getuser()}"
    except (KeyError, OSError):
        return f"console {os.getuid()}"
