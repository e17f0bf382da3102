"""How the API refuses: one shape, {"error", "detail", "fix"}, for every status from 400 up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from dashboards.plain import plain
from twin.errors import AccessError, IllegalStep, StoreDown, StoreElsewhere

LOG = logging.getLogger(__name__)


class Refusal(BaseModel):
    """Why a call was refused, and what to do about it."""

    error: str = Field(description="one word, stable, for programs")
    detail: str = Field(description="what was wrong")
    fix: str = Field(description="what to do about it")
    errors: list[dict[str, str]] | None = Field(None, description="each thing that is wrong, where there are several")


class Refused(Exception):
    """A call that ends here, with its status and words."""

    def __init__(
        self, status: int, error: str, detail: str, fix: str, *, retry_s: int = 0, more: Sequence[Any] = ()
    ) -> None:
        super().__init__(detail)
        self.more = more  # everything that is wrong, where that is more than one thing
        self.status, self.error, self.detail, self.fix, self.retry_s = status, error, detail, fix, retry_s


EXPLAINED = {
    400: "The request is not well-formed.",
    401: "No session and no key.",
    403: "Foreign origin or host, or not for this role.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "The body is too large.",
    415: "A content type that is not read here.",
    422: "A parameter is missing or outside its bounds.",
    429: "Too many calls; Retry-After says when to come again.",
    503: "Not now; Retry-After says when to come again.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an operation, for OpenAPI; those that the gate gives are added to all."""
    return {
        status: {"model": Refusal, "description": EXPLAINED[status]}
        for status in sorted({400, 401, 403, 429, *statuses})
    }


def refuse(status: int, error: str, detail: str, fix: str, retry_s: int = 0, more: Sequence[Any] = ()) -> JSONResponse:
    """The refusal as a response."""
    headers = {"Retry-After": str(retry_s)} if retry_s else {}
    told = {"error": error, "detail": detail, "fix": fix}
    return JSONResponse(told | ({"errors": plain(more)} if more else {}), status, headers)


def no_device(device: str) -> Refused:
    return Refused(404, "no_device", f"There is no device {device!r}.", "See /api/devices for the ids.")


def no_case(case: str) -> Refused:
    return Refused(404, "no_case", f"There is no case {case!r}.", "See /api/cases for the ids.")


def add_refusals(app: FastAPI) -> None:
    """Every error that leaves the app has the one shape."""

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        return refuse(error.status, error.error, error.detail, error.fix, error.retry_s, error.more)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return refuse(422, "invalid", f"{where}: {first['msg']}", "See /api/openapi.json for what is allowed.")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        fix = "See /api/openapi.json for paths and methods."
        name = {404: "not_found", 405: "method"}.get(error.status_code, "http")
        answer = refuse(error.status_code, name, f"{request.method} {request.url.path}: {error.detail}", fix)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(IllegalStep)
    def illegal(_: Request, error: IllegalStep) -> JSONResponse:
        return refuse(409, "illegal_step", str(error), "Reload the case and take a step that it names.")

    @app.exception_handler(StoreElsewhere)
    def elsewhere(_: Request, error: StoreElsewhere) -> JSONResponse:
        return refuse(409, "store_elsewhere", str(error), "Ask the server that holds the series.")

    @app.exception_handler(AccessError)
    def access(_: Request, error: AccessError) -> JSONResponse:
        if error.why == "unknown":
            return refuse(404, "unknown", str(error), "See /api/users, /api/tokens or /api/sessions for what there is.")
        if error.why == "disk":
            return refuse(503, "access", str(error), error.zh, 10)
        return refuse(409, "access", str(error), error.zh)

    @app.exception_handler(SQLAlchemyError)
    def cases_away(_: Request, error: SQLAlchemyError) -> JSONResponse:
        LOG.warning("the case database does not answer: %s", error)
        fix = "Come again; whistles wait in the journal, none is lost."
        return refuse(503, "cases_away", "The case database does not answer just now.", fix, 5)

    @app.exception_handler(StoreDown)
    def store(_: Request, error: StoreDown) -> JSONResponse:
        return refuse(503, "store_down", str(error), "Come again; nothing is lost meanwhile.", 5)
