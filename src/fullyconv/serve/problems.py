"""Errors as clients read them: JSON after RFC 9457, a status and one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fullyconv.errors import FullyConvError

MEDIA_TYPE = "application/problem+json"
_GONE = 499  # no status of HTTP; what nginx writes into its log


class RequestError(FullyConvError):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        detail: One sentence.
        headers: Further ones of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})


def busy(detail: str, seconds: float, status: int = 503) -> RequestError:
    """Too much to do; the client may come again after some seconds."""
    return RequestError(status, detail, {"Retry-After": str(max(1, round(seconds)))})


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is not answered."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return Response(json.dumps(said), status, dict(headers or {}), MEDIA_TYPE)


def add_problems(app: FastAPI) -> None:
    """Let an app answer every error so, its framework's own too."""

    def of_ours(_request: Request, error: Exception) -> Response:
        if isinstance(error, RequestError):
            return problem(error.status, str(error), error.headers)
        return problem(422, str(error))  # a picture that cannot be labelled

    def of_the_query(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, "; ".join(_sentence(wrong) for wrong in error.errors()))

    def of_the_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        details = {
            404: f"there is nothing at {request.url.path[:200]}",
            405: f"{request.method} is not possible at {request.url.path[:200]}",
        }
        detail = details.get(error.status_code, str(error.detail))
        return problem(error.status_code, detail, error.headers)

    def of_the_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=_GONE)  # which nobody reads; it is counted

    def of_nobody(_request: Request, _error: Exception) -> Response:
        return problem(500, "an error of the server's own, which its log tells of")

    app.add_exception_handler(FullyConvError, of_ours)
    app.add_exception_handler(RequestValidationError, of_the_query)
    app.add_exception_handler(HTTPException, of_the_framework)
    app.add_exception_handler(ClientDisconnect, of_the_gone)
    app.add_exception_handler(Exception, of_nobody)


def _sentence(wrong: Mapping[str, Any]) -> str:
    where = wrong["loc"][-1]
    given = str(wrong.get("input"))[:100]
    return f"{where} is {given!r}: {str(wrong['msg'])[:1].lower()}{str(wrong['msg'])[1:]}"
