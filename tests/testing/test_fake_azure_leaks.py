"""What FakeAzure reports as given away, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from azure_shim.testing import FakeAzure, Resource

Send = Callable[..., Any]
PATH = "/openai/v1/models"


def kinds(azure: FakeAzure) -> list[str]:
    return [leak.kind for leak in azure.leaks]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"OpenAI-Organization": "org-1"}, ["openai-organization"]),
        ({"OpenAI-Project": "proj-1"}, ["openai-project"]),
        ({"Cookie": "a=b"}, ["cookie"]),
        ({"x-forwarded-key": "sk-abc123"}, ["openai-key"]),
        ({"x-task": "task-risk-sketch"}, []),
        ({"x-assertion": "eyJhbGciOiJub25lIn0.e30.Qk-sk-abc123"}, []),
    ],
)
def test_headers(azure: FakeAzure, east: Resource, send: Send, headers: dict[str, str], found: list[str]) -> None:
    send(east, "GET", PATH, headers=headers)
    assert kinds(azure) == found


def test_an_openai_key_as_the_credential_or_in_the_query(azure: FakeAzure, east: Resource, send: Send) -> None:
    send(east, "GET", PATH, key=False, headers={"Authorization": "Bearer sk-proj-abc"})
    send(east, "GET", PATH, key=False, headers={"api-key": "sk-abc"})
    send(east, "GET", PATH + "?k=sk-abc")
    assert [(leak.kind, leak.detail) for leak in azure.leaks] == [
        ("openai-key", "header authorization"),
        ("openai-key", "header api-key"),
        ("openai-key", "the query"),
    ]


def test_another_resources_credential(azure: FakeAzure, east: Resource, west: Resource, send: Send) -> None:
    send(east, "GET", PATH, headers={"api-key": west.api_key})
    assert [(leak.kind, leak.resource, leak.detail) for leak in azure.leaks] == [
        ("foreign-key", "eastus", "header api-key")
    ]
    assert azure.leaks[0].request is east.requests[-1]
    assert west.api_key not in repr(azure.leaks)
    azure.forget()
    west.tokens = {"wests-own-token"}
    send(east, "GET", PATH, key=False, headers={"Authorization": "Bearer wests-own-token"})
    assert kinds(azure) == ["foreign-token"]
    azure.forget()
    send(east, "GET", f"{PATH}?x={west.api_key}")
    assert kinds(azure) == ["foreign-key"]


def test_a_token_of_both_is_nobodys_secret(azure: FakeAzure, east: Resource, west: Resource, send: Send) -> None:
    for resource in (east, west):
        send(resource, "GET", PATH, key=False, headers={"Authorization": f"Bearer {azure.token}"})
    assert azure.leaks == []
    assert azure.refused == []


def test_a_credential_at_a_host_that_is_no_resource(library: Any) -> None:
    azure = FakeAzure(["eastus"])
    client = library.Client(transport=azure.transport(library.__name__))

    def send(host: str, headers: dict[str, str]) -> None:
        with pytest.raises(library.ConnectError):
            client.get(f"https://{host}/v1/models", headers=headers)

    send("api.openai.com", {"Authorization": "Bearer sk-mine"})
    assert azure.leaks == [], "an OpenAI key belongs there"
    send("api.openai.com", {"Authorization": f"Bearer {azure.token}"})
    send("gone.openai.azure.com", {"Authorization": f"Bearer {azure.token}"})
    send("gone.openai.azure.com", {"api-key": azure["eastus"].api_key})
    assert [(leak.kind, leak.resource) for leak in azure.leaks] == [
        ("foreign-token", "api.openai.com"),
        ("foreign-key", "gone.openai.azure.com"),
    ]
    assert [request.resource for request in azure.unresolved][-1] == "gone.openai.azure.com"


def test_no_repr_shows_a_credential(azure: FakeAzure, east: Resource, send: Send) -> None:
    send(east, "GET", PATH, headers={"Cookie": "c00kie"})
    shown = repr((azure, east, azure.requests, azure.leaks, east.requests[0].headers, vars(azure.requests[0])))
    for secret in (east.api_key, azure.token, "c00kie"):
        assert secret not in shown
