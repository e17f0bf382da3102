"""The life of a case as one table: state x event -> state. docs/lifecycle.md draws the same table; a test compares."""

from __future__ import annotations

from typing import get_args

from twin.errors import IllegalStep
from twin.records import State

STATES: tuple[State, ...] = get_args(State)

# A case in one of these still wants something from someone.
OPEN: tuple[State, ...] = ("found", "filed", "dispatched", "accepted", "handled", "verified")
CLOSED: tuple[State, ...] = ("closed", "evaluated", "cancelled")

# With a department that has not yet reported the thing done: its deadline runs.
RUNNING: tuple[State, ...] = ("dispatched", "accepted")

MOVES: dict[State, dict[str, State]] = {
    "found": {"file": "filed", "merge": "filed", "cancel": "cancelled"},
    "filed": {
        "dispatch": "dispatched",
        "transfer": "dispatched",
        "merge": "filed",
        "split": "filed",
        "close": "closed",
        "cancel": "cancelled",
    },
    "dispatched": {
        "accept": "accepted",
        "handle": "handled",
        "return": "filed",
        "transfer": "dispatched",
        "merge": "filed",
        "verify": "verified",
        "close": "closed",
        "cancel": "cancelled",
    },
    "accepted": {
        "handle": "handled",
        "return": "filed",
        "transfer": "dispatched",
        "merge": "filed",
        "verify": "verified",
        "close": "closed",
        "cancel": "cancelled",
    },
    "handled": {"redo": "accepted", "merge": "filed", "verify": "verified", "close": "closed"},
    "verified": {"close": "closed", "reopen": "filed"},
    "closed": {"evaluate": "evaluated", "reopen": "filed"},
    "evaluated": {"evaluate": "evaluated", "reopen": "filed"},
    "cancelled": {"reopen": "filed"},
}

# Events that are recorded and leave the state as it is, and the states in which they may happen.
NOTES: dict[str, tuple[State, ...]] = {
    "comment": STATES,
    "attach": STATES,
    "resend": STATES,  # a dead letter is sent again, under its own key
    "extend": RUNNING,  # the department asks for more time
    "approve": RUNNING,  # an operator grants it
    "deny": RUNNING,
    "warn": RUNNING,  # the deadline is near
    "escalate": ("filed", *RUNNING),  # the deadline has passed: street, district, city
    "recover": STATES,  # telemetry no longer shows it
    "relapse": STATES,  # telemetry shows it again
    "worsen": OPEN,  # its severity rose
    "mute": ("filed",),  # not sent for now
    "digest": RUNNING,  # told in a digest, not alone
    "delivered": STATES,
    "retried": STATES,  # a first attempt failed, others follow
    "undelivered": STATES,  # a dead letter
    "answered": STATES,  # the device acknowledged its command
    "unanswered": STATES,
}

# What people (or programs on their behalf) may ask for; everything else is the system's own.
VERBS: tuple[str, ...] = (
    "accept",
    "handle",
    "redo",
    "return",
    "transfer",
    "dispatch",
    "extend",
    "approve",
    "deny",
    "verify",
    "close",
    "evaluate",
    "reopen",
    "cancel",
    "merge",
    "split",
    "comment",
    "attach",
    "resend",
)

# Verbs about no case in particular.
CITY_VERBS: tuple[str, ...] = ("mute", "unmute")


def table() -> dict[tuple[State, str], State]:
    """Every legal step: (state, event) -> state afterwards."""
    steps: dict[tuple[State, str], State] = {}
    for state in STATES:
        steps.update({(state, event): after for event, after in MOVES[state].items()})
        steps.update({(state, event): state for event, where in NOTES.items() if state in where})
    return steps


TABLE = table()


def verbs(state: State) -> tuple[str, ...]:
    """What a person may ask of a case in that state, in the order of VERBS."""
    return tuple(verb for verb in VERBS if (state, verb) in TABLE)


def after(state: State, event: str) -> State:
    """The state after `event`. Raises IllegalStep, which names the steps that are possible, for any other.

    >>> after("dispatched", "accept")
    'accepted'
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalStep(f"a case that is {state} cannot {event}; it can {', '.join(verbs(state))}") from None
