"""What the SDK makes of answers that its own error classes have no words for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import openai

from azure_shim.config.settings import Settings
from azure_shim.sdk import LegacyAPIResponse
from azure_shim.transport.exchange import EXTENSION
from azure_shim.values import Refusal, Served
from azure_shim.wire.operations import table

__all__ = ["checked_answer", "cut_answer", "raise_coldness", "worded"]


def raise_coldness(errors: Sequence[openai.OpenAIError], settings: Settings) -> None:
    """Raise the first of the errors that left a target cold, if they left all of a client's targets so."""
    targets = 1 if settings.plan is None else len(settings.plan.inside)
    cold = [error for error in errors if not isinstance(error, openai.APIStatusError) or _is_unsigned(error.response)]
    if len(cold) == targets:
        raise cold[0]


def _is_unsigned(response: Any) -> bool:
    """Whether this package made this answer itself, for want of a credential."""
    refusal = response.extensions.get(EXTENSION)
    return isinstance(refusal, Refusal) and refusal.status == 401


def worded(text: str, response: Any, body: object, settings: Settings) -> str:
    """The message of a status error: the SDK's ``text``, our own reason as it is, or the SDK's with a hint."""
    refusal = response.extensions.get(EXTENSION)
    if isinstance(refusal, Refusal) and "\n" in refusal.message:
        return f"Error code: {refusal.status} - {refusal.message}"  # the SDK shows a dict, and its lines as one
    hint = _hint(response, body, settings)
    return text if text.endswith(hint) else text + hint  # it may be asked twice, below a wrapper of others


def _hint(response: Any, body: object, settings: Settings) -> str:
    """For a deployment that Azure does not find: what was asked for, and what the client would have known."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    served = response.request.extensions.get(EXTENSION)
    if response.status_code != 404 or not isinstance(served, Served) or served.deployment is None:
        return ""
    if not isinstance(error, Mapping) or error.get("code") != "DeploymentNotFound":
        return ""
    targets = (settings.target,) if settings.plan is None else settings.plan.targets
    names = next((target.deployments for target in targets if target.name == served.target), None)
    known = f"; deployments has: {', '.join(sorted(names))}" if isinstance(names, Mapping) else ""
    asked = f"model {served.model!r} is deployment" if served.model else "deployment"
    return f" ({asked} {served.deployment!r} at {response.request.url.host}{known})"


def checked_answer(result: Any, cast_to: Any, response: Any) -> Any:
    """``result``, unless the SDK passed on a text where the operation has a model; of a raw one, what it parses to."""
    if isinstance(result, LegacyAPIResponse):
        parse = result.parse

        def checked_parse(**options: Any) -> Any:
            try:
                parsed = parse(**options)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise cut_answer(response) from error
            return parsed if options else checked_answer(parsed, cast_to, response)

        result.parse = checked_parse  # type: ignore[method-assign]
        return result
    is_model = inspect.isclass(cast_to) and issubclass(cast_to, openai.BaseModel)
    if isinstance(result, str) and is_model and _is_known(response):
        raise openai.APIResponseValidationError(
            response, result, message="The answer is no JSON although its status is a success."
        )
    return result


def _is_known(response: Any) -> bool:
    """Whether the operation is one that the table lists; of others the SDK's own word for a text holds."""
    served = response.request.extensions.get(EXTENSION)
    return isinstance(served, Served) and served.operation in _paths()


@cache
def _paths() -> frozenset[str]:
    return frozenset(operation.path for operation in table())


def cut_answer(response: Any) -> openai.APIResponseValidationError:
    return openai.APIResponseValidationError(
        response,
        response.content.decode("utf-8", "replace"),
        message="The answer is no complete JSON although its status is a success.",
    )
