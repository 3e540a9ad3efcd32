"""What a type checker sees of the public names; checked by mypy, never run."""

from __future__ import annotations

import openai
from typing_extensions import assert_type

import azure_shim
from azure_shim.testing import FakeAzure, TokenService


class Credential:
    """As azure-core's protocol wants one."""

    def get_token(self, *scopes: str, **options: object) -> object: ...


def token() -> str:
    return "token"


async def token_later() -> str:
    return "token"


def constructors() -> None:
    client = azure_shim.OpenAI(
        azure_endpoint="r.openai.azure.com", azure_ad_token_provider=token, deployments={"gpt-4o": "prod"}
    )
    assert_type(client, azure_shim.OpenAI)
    assert_type(client.with_options(timeout=3), azure_shim.OpenAI)
    assert_type(client.copy(api_version="v1"), azure_shim.OpenAI)
    completion = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert_type(completion, openai.types.chat.ChatCompletion)
    plain: openai.OpenAI = client
    plain.embeddings.create(model="e", input="x")


def without_a_key() -> None:
    client = azure_shim.OpenAI(azure_endpoint="r.openai.azure.com", credential=Credential())
    client.warm_up()
    azure_shim.OpenAI(resource_name="r", azure_cloud="usgov", azure_auth_mode="managed", azure_managed_client_id="id")
    assert_type(client.copy(azure_auth_mode="cli"), azure_shim.OpenAI)
    azure_shim.reset_tokens()


async def async_constructors() -> None:
    client = azure_shim.AsyncOpenAI(resource_name="r", api_key=token_later, deployments=lambda model: model.upper())
    plain: openai.AsyncOpenAI = client
    await client.warm_up()
    response = await plain.responses.create(model="gpt-4o", input="hi")
    assert_type(response, openai.types.responses.Response)


def http_clients() -> None:
    openai.OpenAI(api_key="unused", http_client=azure_shim.http_client(azure_endpoint="r", api_key="k"))
    openai.AsyncOpenAI(api_key="unused", http_client=azure_shim.async_http_client(azure_endpoint="r", api_key="k"))


def one_process() -> None:
    azure_shim.patch(legacy=True, azure_endpoint="r", api_key="k")
    azure_shim.unpatch()
    with azure_shim.patched(config="azure.toml"):
        openai.OpenAI()
    assert_type(azure_shim.wrap(openai.OpenAI()), openai.OpenAI)
    assert_type(azure_shim.wrap(openai.AsyncOpenAI(), resource_name="r"), openai.AsyncOpenAI)


def of_azures_class() -> None:
    client = azure_shim.AzureOpenAI(azure_endpoint="r", api_key="k", drop_empty_choice_chunks=True)
    plain: openai.AzureOpenAI = client
    assert_type(client.with_options(timeout=3), azure_shim.AzureOpenAI)
    plain.embeddings.create(model="e", input="x")


def fake() -> None:
    with TokenService() as service, FakeAzure({"eastus": ["gpt-4o"]}, token_service=service) as azure:
        assert_type(service.environment("workload"), dict[str, str])
        assert_type(azure["eastus"].endpoint, str)
        assert_type(azure["eastus"].api_key, str)
