"""The one core: a request in, an answer out. The loopback server and the in-process transports only carry both."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from azure_shim.testing.answers import answer_call
from azure_shim.testing.call import Call
from azure_shim.testing.checks import check
from azure_shim.testing.errors import AzureError
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse

if TYPE_CHECKING:
    from azure_shim.testing.fake_azure import FakeAzure
    from azure_shim.testing.resource import Resource

__all__ = ["answer"]


def answer(azure: FakeAzure, resource: Resource, request: Recorded) -> FakeResponse:
    """Check and record ``request``, then answer it, or let the fault do it that waits for it."""
    refusal: AzureError | None = None
    call: Call | None = None
    try:
        call = check(resource, request)
    except AzureError as error:
        refusal, request.refused = error, error.code
    azure.record(request, resource)

    def normal() -> FakeResponse:
        if call is None:
            assert refusal is not None, "a request is refused or it is a call"
            return refusal.response()
        try:
            return answer_call(call)
        except AzureError as error:
            request.refused = error.code
            return error.response()

    fault = resource.take_fault()
    response = normal() if fault is None else fault.apply(request, normal)
    request.content.discard()
    return response.with_headers(_azures_headers(resource, request, call))


def _azures_headers(resource: Resource, request: Recorded, call: Call | None) -> list[tuple[str, str]]:
    request_id = str(uuid.uuid4())
    headers = [
        ("apim-request-id", request_id),
        ("x-request-id", str(uuid.uuid4())),
        ("x-ms-client-request-id", request.headers.get("x-ms-client-request-id", request_id)),
        ("x-ms-region", resource.name),
        ("x-content-type-options", "nosniff"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ]
    if call is not None and call.model is not None:
        requests, tokens = resource.count_down(request.size_bytes // 4)
        headers += [
            ("azureml-model-session", f"{call.model}-session"),
            ("x-ms-rai-invoked", "true"),
            ("x-ratelimit-remaining-requests", str(requests)),
            ("x-ratelimit-remaining-tokens", str(tokens)),
        ]
    return headers
