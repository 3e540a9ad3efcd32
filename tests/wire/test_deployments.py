"""From the model that a caller names to the deployment that serves it."""

from __future__ import annotations

from typing import Any

import pytest

from azure_shim.values import Credential, Refusal, Target
from azure_shim.wire.deployments import resolve
from azure_shim.wire.endpoints import parse

CHAT = "/chat/completions"
ENDPOINT = parse("https://r.openai.azure.com").endpoint
KEY = Credential("api_key", value="key")


def resolved(model: str, operation: str = CHAT, *, is_deployment: bool = False, **fields: Any) -> str | Refusal:
    return resolve(Target("r", ENDPOINT, None, KEY, **fields), model, operation, is_deployment=is_deployment)


@pytest.mark.parametrize(
    ("deployments", "model", "expected"),
    [
        ({"gpt-4o": "prod-4o"}, "gpt-4o", "prod-4o"),
        ({"gpt-4o": "prod-4o"}, "gpt-4o-mini", "gpt-4o-mini"),
        ({}, "gpt-4o", "gpt-4o"),
        (None, "gpt-4o", "gpt-4o"),
        (None, "gpt-3.5-turbo-2024-01-01", "gpt-3.5-turbo-2024-01-01"),
        # Azure's spelling, in either direction
        ({"gpt-35-turbo": "dep"}, "gpt-3.5-turbo", "dep"),
        ({"gpt-3.5-turbo": "dep"}, "gpt-35-turbo", "dep"),
        # without a date, in either spelling
        ({"gpt-4o": "dep"}, "gpt-4o-2024-08-06", "dep"),
        ({"gpt-35-turbo": "dep"}, "gpt-3.5-turbo-2024-01-25", "dep"),
        ({"gpt-4o": "dep"}, "gpt-4o-20240806", "gpt-4o-20240806"),
        ({"gpt-4o": "dep"}, "gpt-4o-2024-08-06-x", "gpt-4o-2024-08-06-x"),
        ({"gpt-4o-2024-08-06": "dep"}, "gpt-4o", "gpt-4o"),
        # the more exact spelling wins
        ({"gpt-4o": "any", "gpt-4o-2024-08-06": "exact"}, "gpt-4o-2024-08-06", "exact"),
        ({"gpt-35-turbo": "azure", "gpt-3.5-turbo": "openai"}, "gpt-3.5-turbo", "openai"),
        ({"gpt-35-turbo": "azure", "gpt-3.5-turbo": "openai"}, "gpt-35-turbo", "azure"),
        # names are names, whatever is in them
        ({"gpt-4o": "a/b c"}, "gpt-4o", "a/b c"),
        ({"GPT-4o": "dep"}, "gpt-4o", "gpt-4o"),
        (None, "ft:gpt-4o:org::id", "ft:gpt-4o:org::id"),
    ],
)
def test_a_map_is_looked_up_by_name_then_by_its_other_spellings(
    deployments: dict[str, str] | None, model: str, expected: str
) -> None:
    assert resolved(model, deployments=deployments) == expected


def test_the_default_serves_what_the_map_does_not_name() -> None:
    fields: dict[str, Any] = {"deployments": {"gpt-4o": "prod-4o"}, "default_deployment": "rest"}
    assert resolved("gpt-4o", **fields) == "prod-4o"
    assert resolved("gpt-4o-2024-08-06", **fields) == "prod-4o"
    assert resolved("o3", **fields) == "rest"


def test_a_default_for_one_operation_serves_no_other() -> None:
    """A deployment URL that ends in an operation says nothing about embeddings."""
    fields: dict[str, Any] = {"default_deployment": "chat-dep", "default_for": CHAT}
    assert resolved("gpt-4o", CHAT, **fields) == "chat-dep"
    assert resolved("text-embedding-3-small", "/embeddings", **fields) == "text-embedding-3-small"


def test_a_deployment_that_the_caller_names_is_not_replaced_by_the_default() -> None:
    assert resolved("named", is_deployment=True, default_deployment="rest") == "named"
    assert resolved("named", is_deployment=True, unmapped="error", deployments={"x": "y"}) == "named"
    assert resolved("gpt-4o", is_deployment=True, deployments={"gpt-4o": "prod-4o"}) == "prod-4o"


def test_a_callable_decides_by_itself_and_none_means_unmapped() -> None:
    asked: list[str] = []

    def deployments(model: str) -> str | None:
        asked.append(model)
        return {"gpt-4o": "prod-4o"}.get(model)

    assert resolved("gpt-4o", deployments=deployments) == "prod-4o"
    assert resolved("gpt-4o-2024-08-06", deployments=deployments) == "gpt-4o-2024-08-06"
    assert resolved("o3", deployments=deployments, default_deployment="rest") == "rest"
    assert asked == ["gpt-4o", "gpt-4o-2024-08-06", "o3"]


def test_what_a_callable_raises_is_not_hidden() -> None:
    def deployments(model: str) -> str:
        raise LookupError(model)

    with pytest.raises(LookupError):
        resolved("gpt-4o", deployments=deployments)


@pytest.mark.parametrize(
    ("deployments", "known"),
    [
        ({"gpt-4o": "a", "b": "c"}, "it has: b, gpt-4o"),
        ({}, "it has: none"),
        (lambda model: None, "a callable"),
        (None, ""),
    ],
)
def test_an_unmapped_model_is_an_error_where_asked_for(deployments: Any, known: str) -> None:
    refusal = resolved("o3", deployments=deployments, unmapped="error")

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (404, "ModelNotMapped")
    assert "'o3'" in refusal.message
    assert "target 'r'" in refusal.message
    assert known in refusal.message


def test_a_default_maps_every_model_where_unmapped_is_an_error() -> None:
    assert resolved("o3", unmapped="error", default_deployment="rest") == "rest"
    assert isinstance(resolved("o3", unmapped="error", default_deployment="rest", default_for="/embeddings"), Refusal)


@pytest.mark.parametrize(
    ("model", "deployments"),
    [
        (".", None),
        ("..", None),
        ("gpt-4o", {"gpt-4o": ".."}),
        ("gpt-4o", lambda model: "."),
        ("gpt-4o", lambda model: ""),
        ("gpt-4o", lambda model: " \t"),
        (" ", None),
    ],
)
def test_what_no_path_can_name_is_refused(model: str, deployments: Any) -> None:
    refusal = resolved(model, deployments=deployments)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "InvalidDeployment")


@pytest.mark.parametrize("name", ["...", ".a", "a..b", "../../files", "%2e%2e"])
def test_a_name_with_dots_in_it_is_a_name(name: str) -> None:
    assert resolved(name) == name
