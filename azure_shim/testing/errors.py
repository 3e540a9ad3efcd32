"""Azure's refusals, in its own words.

The texts are those that users of the service report and the OpenAPI specifications give; where two are known, the
newer one. ``MultipleCredentials`` and ``LengthMismatch`` are not Azure's: what the service says to two credentials
depends on both, and it says nothing if they agree; a test should not depend on that.
"""

from __future__ import annotations

from typing import Any

from azure_shim.testing.response import FakeResponse

__all__ = ["AzureError"]

_LEARN_FILTER = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify "
    "your prompt and retry. To learn more about our content filtering policies please read our documentation: "
    "https://go.microsoft.com/fwlink/?linkid=2198766"
)


class AzureError(Exception):
    """A refusal: its status and its body. ``code`` is what `Recorded.refused` says."""

    def __init__(self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = error
        self.headers = headers or {}

    @property
    def code(self) -> str:
        return str(self.error.get("code") or self.error.get("type") or self.status)

    def response(self) -> FakeResponse:
        return FakeResponse.json({"error": self.error}, self.status, self.headers)


def plain(status: int, code: str, message: str) -> AzureError:
    """An error of the front end: code and message, nothing else."""
    return AzureError(status, {"code": code, "message": message})


def model_error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> AzureError:
    """An error of the service behind the front end, in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return AzureError(status, {"message": message, "type": kind, "param": param, "code": code})


def resource_not_found() -> AzureError:
    return plain(404, "404", "Resource not found")


def version_not_allowed() -> AzureError:
    return plain(400, "BadRequest", "api-version query parameter is not allowed when using /v1 path")


def version_not_supported() -> AzureError:
    return plain(400, "BadRequest", "API version not supported")


def preview_required() -> AzureError:
    return plain(400, "BadRequest", "API in preview mode, please use api-version=preview")


def wrong_key() -> AzureError:
    return plain(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource.",
    )


def wrong_token() -> AzureError:
    return plain(
        401,
        "401",
        "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), "
        "or have expired.",
    )


def lacks_role() -> AzureError:
    return plain(
        401,
        "PermissionDenied",
        "The principal `00000000-0000-0000-0000-000000000000` lacks the required data action "
        "`Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to perform "
        "`POST /openai/deployments/{deployment-id}/chat/completions` operation.",
    )


def multiple_credentials(names: list[str]) -> AzureError:
    return plain(400, "MultipleCredentials", f"The request carries more than one credential: {', '.join(names)}.")


def network_denied() -> AzureError:
    return plain(403, "403", "Access denied due to Virtual Network/Firewall rules.")


def deployment_not_found() -> AzureError:
    return plain(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again.",
    )


def model_does_not_exist(model: str) -> AzureError:
    return model_error(400, f"The model '{model}' does not exist.", param="model", code="invalid_value")


def model_missing() -> AzureError:
    return model_error(400, "you must provide a model parameter")


def operation_not_supported(operation: str, model: str) -> AzureError:
    return plain(
        400,
        "OperationNotSupported",
        f"The {operation} operation does not work with the specified model, {model}. Please choose different model and "
        "try again. You can learn more about which models can be used with each operation here: "
        "https://go.microsoft.com/fwlink/?linkid=2197993.",
    )


def invalid_json() -> AzureError:
    return model_error(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The API expects a JSON payload, but what was sent was not valid JSON.)",
        code="invalid_json",
    )


def invalid_multipart(reason: str) -> AzureError:
    return model_error(400, f"Could not parse multipart form: {reason}.", code="invalid_multipart")


def invalid_encoding(encoding: str) -> AzureError:
    return plain(415, "UnsupportedMediaType", f"The Content-Encoding {encoding!r} is not supported or the body is not.")


def unsupported_media_type(content_type: str) -> AzureError:
    return plain(415, "UnsupportedMediaType", f"Invalid Content-Type header ({content_type!r}).")


def length_mismatch(said: str, came_bytes: int) -> AzureError:
    return plain(400, "LengthMismatch", f"Content-Length is {said!r} and the body has {came_bytes} bytes.")


def missing_parameter(name: str) -> AzureError:
    return model_error(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def no_such(kind: str, item: str) -> AzureError:
    """What an id of another resource, or of nothing, is answered with; the words differ by kind."""
    if kind == "file":
        return model_error(404, f"No such File object: {item}", param="id")
    if kind == "response":
        return model_error(404, f"Response with id '{item}' not found.")
    return model_error(404, f"No {kind.rpartition('.')[2].replace('_', ' ')} found with id '{item}'.")


def call_rate(retry_after_s: int) -> AzureError:
    return _throttled(
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded call "
        f"rate limit of your current OpenAI S0 pricing tier. Please retry after {retry_after_s} seconds. Please go "
        "here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
        retry_after_s,
    )


def token_rate(retry_after_s: int) -> AzureError:
    return _throttled(
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
        f"token rate limit of your current OpenAI S0 pricing tier. Please retry after {retry_after_s} seconds. Please "
        "go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
        retry_after_s,
    )


def high_demand(retry_after_s: int) -> AzureError:
    return _throttled(
        "The system is currently experiencing high demand and cannot process your request. Your request exceeds the "
        f"maximum usage size allowed during peak load. Please retry after {retry_after_s} seconds. For improved "
        "capacity reliability, consider switching to Provisioned Throughput.",
        retry_after_s,
    )


def _throttled(message: str, retry_after_s: int) -> AzureError:
    headers = {"retry-after": str(retry_after_s), "retry-after-ms": str(retry_after_s * 1000)}
    return AzureError(429, {"code": "429", "message": message}, headers)


def content_filter() -> AzureError:
    safe = {"filtered": False, "severity": "safe"}
    result = {"hate": safe, "self_harm": safe, "sexual": {"filtered": True, "severity": "high"}, "violence": safe}
    return AzureError(
        400,
        {
            "message": _LEARN_FILTER,
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
        },
    )


def timeout() -> AzureError:
    return plain(408, "Timeout", "The operation was timeout.")


def server_error() -> AzureError:
    return model_error(
        500,
        "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
        "through an Azure support request at: https://go.microsoft.com/fwlink/?linkid=2213926 if you keep seeing this "
        "error. (Please include the request ID 00000000-0000-0000-0000-000000000000 in your email.)",
    )


def unavailable() -> AzureError:
    return plain(
        503, "ServiceUnavailable", "The server is temporarily unable to handle the request. Please try again later."
    )


def not_simulated(what: str) -> AzureError:
    """FakeAzure's own: the request is sound and FakeAzure has no answer for it."""
    return plain(501, "NotSimulated", f"FakeAzure does not simulate {what}.")
