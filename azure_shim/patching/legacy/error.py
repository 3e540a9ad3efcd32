"""The exceptions of openai 0.28 (``openai.error``), and which of them stands for an error of today's.

::

    OpenAIError (an openai.OpenAIError of today's)
    +-- APIError (an openai.APIError of today's)
    +-- TryAgain
    +-- Timeout
    +-- APIConnectionError
    +-- InvalidRequestError
    +-- AuthenticationError
    +-- PermissionError
    +-- RateLimitError
    +-- ServiceUnavailableError
    +-- InvalidAPIType
    +-- SignatureVerificationError

0.28 exported `OpenAIError` and `APIError` from ``openai`` itself, where today's have these names: being both, ours are
caught under either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from azure_shim.patching.legacy.objects import ErrorObject

__all__ = [
    "APIConnectionError",
    "APIError",
    "AuthenticationError",
    "InvalidAPIType",
    "InvalidRequestError",
    "OpenAIError",
    "PermissionError",
    "RateLimitError",
    "ServiceUnavailableError",
    "SignatureVerificationError",
    "Timeout",
    "TryAgain",
]


class OpenAIError(openai.OpenAIError):
    """What every call of the 0.x API raises; ``error`` is the service's own, ``user_message`` the message alone."""

    def __init__(
        self,
        message: str | None = None,
        http_body: Any = None,
        http_status: int | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        # Not what today's classes do with their arguments, which are others.
        Exception.__init__(self, message)
        if isinstance(http_body, bytes):
            http_body = http_body.decode("utf-8", "replace")
        self._message = message
        self.http_body = http_body
        self.http_status = http_status
        self.json_body = json_body
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.code = code
        self.request_id = self.headers.get("request-id")
        self.organization = self.headers.get("openai-organization")
        self.error = self.construct_error_object()

    def __str__(self) -> str:
        message = self._message or "<empty message>"
        return message if self.request_id is None else f"Request {self.request_id}: {message}"

    def __repr__(self) -> str:
        shown = f"message={self._message!r}, http_status={self.http_status!r}, request_id={self.request_id!r}"
        return f"{type(self).__name__}({shown})"

    @property
    def user_message(self) -> str | None:
        return self._message

    def construct_error_object(self) -> ErrorObject | None:
        error = self.json_body.get("error") if isinstance(self.json_body, dict) else None
        return ErrorObject.construct_from(error) if isinstance(error, dict) else None


class APIError(OpenAIError, openai.APIError):
    """Any answer that no other class stands for, and an error within a stream."""

    def __init__(self, message: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        # For code that handles today's class, which has these attributes.
        self.message = message or ""
        self.body = self.json_body
        self.param = self.type = None


class TryAgain(OpenAIError):  # noqa: N818  as in 0.28
    """409."""


class Timeout(OpenAIError):  # noqa: N818  as in 0.28
    """No answer in time."""


class APIConnectionError(OpenAIError):
    """No connection, or one that broke."""

    def __init__(
        self,
        message: str | None,
        http_body: Any = None,
        http_status: int | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
        should_retry: bool = False,
    ) -> None:
        super().__init__(message, http_body, http_status, json_body, headers, code)
        self.should_retry = should_retry


class InvalidRequestError(OpenAIError):
    """400, 404, 415, and what is refused before it is sent. A content filter's has the code ``content_filter``."""

    def __init__(
        self,
        message: str | None,
        param: str | None,
        code: str | None = None,
        http_body: Any = None,
        http_status: int | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, http_body, http_status, json_body, headers, code)
        self.param = param

    def __repr__(self) -> str:
        shown = f"message={self._message!r}, param={self.param!r}, code={self.code!r}"
        return f"{type(self).__name__}({shown}, http_status={self.http_status!r}, request_id={self.request_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self._message, self.param, self.code, self.http_body, self.http_status, self.json_body)
        return type(self), (*arguments, self.headers)


class AuthenticationError(OpenAIError):
    """401, and a call without a credential."""


class PermissionError(OpenAIError):  # noqa: A001  as in 0.28
    """403."""


class RateLimitError(OpenAIError):
    """429."""


class ServiceUnavailableError(OpenAIError):
    """503."""


class InvalidAPIType(OpenAIError):  # noqa: N818  as in 0.28
    """``api_type`` is none of ``azure``, ``azure_ad``, ``azuread``, ``open_ai``, ``openai``."""


class SignatureVerificationError(OpenAIError):
    """Nothing raises it, and did not in 0.28; code may name it."""

    def __init__(self, message: str | None, sig_header: Any, http_body: Any = None) -> None:
        super().__init__(message, http_body)
        self.sig_header = sig_header

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._message, self.sig_header, self.http_body)
