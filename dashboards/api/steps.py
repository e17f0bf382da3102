"""What may be done to a case over HTTP: every verb with what it needs and takes besides a reason."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dashboards.api.errors import Refused

Verb = Literal[
    "accept", "handle", "redo", "return", "transfer", "dispatch", "extend", "approve", "deny", "verify", "close",
    "evaluate", "reopen", "cancel", "merge", "split", "comment", "attach", "resend", "mute", "unmute",
]  # fmt: skip
VERBS: tuple[str, ...] = get_args(Verb)

NEEDS_REASON = frozenset({
    "redo", "return", "transfer", "extend", "deny", "close", "reopen", "cancel", "merge", "split", "comment", "mute",
})  # fmt: skip

# What a verb takes: (must, may). Everything else is refused, so that no slip of the pen is swallowed.
TAKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "transfer": (("department",), ()),
    "dispatch": ((), ("department",)),
    "extend": (("extra_s",), ()),
    "approve": ((), ("extra_s",)),
    "verify": ((), ("override",)),
    "close": ((), ("override",)),
    "evaluate": ((), ("verdict", "score", "by")),
    "merge": (("into",), ()),
    "attach": (("name", "sha256", "media_type", "size_bytes"), ()),
    "resend": ((), ("key",)),
    "mute": (("until_ms",), ("from_ms",)),
    "unmute": (("mute",), ()),
}

Name = Annotated[str, Field(min_length=1, max_length=200)]
Instant = Annotated[int, Field(strict=True, ge=0, le=2**53)]


def printable(text: str) -> str:
    """A text that people wrote, without blanks around it. Raises ValueError for control characters."""
    if any(ord(letter) < 32 and letter not in "\r\n\t" for letter in text):
        raise ValueError("control characters are not allowed")
    return text.strip()


class Step(BaseModel):
    """A reason, and what the verb takes besides it."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=500)] = ""
    department: Annotated[Name | None, Field(description="transfer, dispatch: id of the department")] = None
    extra_s: Annotated[
        float | None,
        Field(strict=True, gt=0, le=366 * 86_400, description="extend, approve: more working time, in seconds"),
    ] = None
    override: Annotated[
        str | None, Field(min_length=1, max_length=500, description="verify, close: why, against the telemetry")
    ] = None
    verdict: Annotated[Literal["useful", "false"] | None, Field(description="evaluate: false = a false whistle")] = None
    by: Annotated[
        Literal["citizen", "unit", "operator"] | None,
        Field(description="evaluate: who judges; the citizen or unit concerned, or the operator (usual)"),
    ] = None
    score: Annotated[int | None, Field(strict=True, ge=1, le=5, description="evaluate")] = None
    into: Annotated[Name | None, Field(description="merge: id of the case that is the cause")] = None
    key: Annotated[Name | None, Field(description="resend: key of the dead letter")] = None
    mute: Annotated[Name | None, Field(description="unmute: the Action-Id of the mute")] = None
    from_ms: Annotated[Instant | None, Field(description="mute: begins, city time")] = None
    until_ms: Annotated[Instant | None, Field(description="mute: ends, city time")] = None
    name: Annotated[Name | None, Field(description="attach: file name")] = None
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="attach: of the file")] = None
    media_type: Annotated[Name | None, Field(description="attach")] = None
    size_bytes: Annotated[int | None, Field(strict=True, ge=0, le=2**40, description="attach")] = None

    @field_validator("reason", "override")
    @classmethod
    def _printable(cls, text: str | None) -> str | None:
        return None if text is None else printable(text)


def arguments_of(verb: str, step: Step) -> dict[str, Any]:
    """The verb's arguments. Raises Refused (422) for what is missing, and for what the verb does not take."""
    told = step.model_dump(exclude={"reason"}, exclude_none=True)
    must, may = TAKES.get(verb, ((), ()))
    missing = [name for name in must if name not in told]
    if verb in NEEDS_REASON and not step.reason:
        missing.insert(0, "reason")
    if missing:
        raise Refused(422, "invalid", f"{verb} needs {', '.join(missing)}.", "See /api/openapi.json for what it takes.")
    strange = [name for name in told if name not in (*must, *may)]
    if strange:
        takes = ", ".join(("reason", *must, *may))
        raise Refused(422, "invalid", f"{verb} does not take {', '.join(strange)}.", f"It takes {takes}.")
    return told
