"""The main job on real sockets, with FakeAzure as the judge of every request."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import trustme

from azure_shim.testing import FakeAzure
from tests.conftest import LIBRARIES, Colour
from tests.package.test_package import run

DEPLOYMENTS = {
    "gpt-4o": "prod-4o",
    "text-embedding-3-small": "embed 3/small",
    "whisper": "hören",
    "gpt-image-1": "bilder",
    "tts": "sprache",
    "gpt-35-turbo-instruct": "instruct",
}
MODELS = {deployment: model for model, deployment in DEPLOYMENTS.items()}
AUTHORITY = trustme.CA()
MESSAGES: list[Any] = [{"role": "user", "content": "Hello Azure"}]


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.fixture(params=["http", "tls"])
def azure(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzure]:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with FakeAzure({"eastus": MODELS}, tls=context() if request.param == "tls" else None) as found:
        yield found
        assert found.leaks == []


DOSES = ["constructor", *(f"http_client of {library}" for library in LIBRARIES), "AzureOpenAI"]


@pytest.fixture(params=DOSES)
def make(request: pytest.FixtureRequest, colour: Colour, azure: FakeAzure) -> Callable[[str], Any]:
    """A client for an api-version, by each dose; the last is openai's own Azure client, which spells Azure's URLs."""
    east = azure["eastus"]

    def build(version: str) -> Any:
        settings: dict[str, Any] = {
            "azure_endpoint": east.endpoint,
            "api_key": east.api_key,
            "api_version": version,
            "deployments": DEPLOYMENTS,
        }
        if request.param == "constructor":
            return colour.client(**settings)
        if request.param == "AzureOpenAI":
            return colour.azure(
                azure_endpoint="https://another-resource.openai.azure.com",
                api_key="a-key-of-another-resource",
                api_version="2023-05-15",
                http_client=colour.http_client(**settings),
            )
        library = request.param.rpartition(" ")[2]
        http_client = colour.http_client(**settings, library=library)
        return colour.plain(api_key="sk-of-nobody", organization="org-1", http_client=http_client)

    return build


def file(name: str, content: bytes = b"RIFF" * 100) -> io.BytesIO:
    found = io.BytesIO(content)
    found.name = name
    return found


CALLS: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "chat": (
        "/chat/completions",
        lambda c: c.chat.completions.create(model="gpt-4o", messages=MESSAGES),
        lambda r: r.choices[0].message.content.startswith("Hello from eastus/prod-4o"),
    ),
    "completions": (
        "/completions",
        lambda c: c.completions.create(model="gpt-35-turbo-instruct", prompt="Hello"),
        lambda r: r.choices[0].text,
    ),
    "embeddings": (
        "/embeddings",
        lambda c: c.embeddings.create(model="text-embedding-3-small", input=["a", "b"]),
        lambda r: len(r.data) == 2 and len(r.data[0].embedding) == 1536,
    ),
    "transcription": (
        "/audio/transcriptions",
        lambda c: c.audio.transcriptions.create(model="whisper", file=file("a.wav")),
        lambda r: r.text,
    ),
    "translation": (
        "/audio/translations",
        lambda c: c.audio.translations.create(model="whisper", file=file("a.wav")),
        lambda r: r.text,
    ),
    "speech": (
        "/audio/speech",
        lambda c: c.audio.speech.create(model="tts", voice="alloy", input="Hello"),
        lambda r: len(r.content) > 10,
    ),
    "image": (
        "/images/generations",
        lambda c: c.images.generate(model="gpt-image-1", prompt="a cat"),
        lambda r: r.data[0].b64_json,
    ),
    "image edit": (
        "/images/edits",
        lambda c: c.images.edit(model="gpt-image-1", image=file("a.png"), prompt="a cat"),
        lambda r: r.data[0].b64_json,
    ),
    "response": (
        "/responses",
        lambda c: c.responses.create(model="gpt-4o", input="Hello"),
        lambda r: r.output_text,
    ),
    "vision": (
        "/chat/completions",
        lambda c: c.chat.completions.create(
            model="gpt-4o",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
                    ],
                }
            ],
        ),
        lambda r: r.choices[0].message.content,
    ),
    "tools": (
        "/chat/completions",
        lambda c: c.chat.completions.create(
            model="gpt-4o",
            messages=MESSAGES,
            tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        ),
        lambda r: r.choices[0].message.tool_calls[0].function.name == "weather",
    ),
    "models": ("/models", lambda c: c.models.list(), lambda r: r.data is not None),
    "file": (
        "/files",
        lambda c: c.files.create(file=file("a.jsonl", b"{}\n"), purpose="batch"),
        lambda r: r.id.startswith("file-"),
    ),
    "batches": ("/batches", lambda c: c.batches.list(), lambda r: r.data == []),
    "fine-tuning": ("/fine_tuning/jobs", lambda c: c.fine_tuning.jobs.list(), lambda r: r.data == []),
}
IN_DEPLOYMENT = {
    "chat": "prod-4o",
    "vision": "prod-4o",
    "tools": "prod-4o",
    "completions": "instruct",
    "embeddings": "embed%203%2Fsmall",
    "transcription": "h%C3%B6ren",
    "translation": "h%C3%B6ren",
    "speech": "sprache",
    "image": "bilder",
    "image edit": "bilder",
}


@pytest.mark.parametrize("version", ["2025-04-01-preview", "v1"])
@pytest.mark.parametrize("name", CALLS)
def test_a_plain_openai_call_runs_on_azure(
    name: str, version: str, make: Callable[[str], Any], colour: Colour, azure: FakeAzure
) -> None:
    path, call, is_right = CALLS[name]
    assert is_right(colour.run(_awaited(call(make(version))) if colour.is_async else call(make(version))))
    (seen,) = azure.requests
    if version == "v1":
        assert seen.raw_path == f"/openai/v1{path}"
    elif name in IN_DEPLOYMENT:
        assert seen.raw_path == f"/openai/deployments/{IN_DEPLOYMENT[name]}{path}?api-version={version}"
    else:
        assert seen.raw_path == f"/openai{path}?api-version={version}"
    assert seen.refused is None


async def _awaited(value: Any) -> Any:
    return await value


@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_a_stream_comes_chunk_by_chunk_in_azures_shape(
    version: str, make: Callable[[str], Any], colour: Colour, azure: FakeAzure
) -> None:
    client = make(version)
    stream = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
    chunks = colour.list(stream)
    assert chunks[0].choices == []
    assert chunks[0].model_extra["prompt_filter_results"]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.startswith("Hello from eastus/prod-4o")
    (seen,) = azure.requests
    assert seen.json()["stream"] is True


def test_a_responses_stream(make: Callable[[str], Any], colour: Colour, azure: FakeAzure) -> None:
    client = make("v1")
    stream = colour.call(client.responses.create, model="gpt-4o", input="Hello", stream=True)
    kinds = [event.type for event in colour.list(stream)]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_what_is_made_is_found_again(make: Callable[[str], Any], colour: Colour) -> None:
    client = make("v1")
    made = colour.call(client.responses.create, model="gpt-4o", input="Hello")
    assert colour.call(client.responses.retrieve, made.id).id == made.id
    uploaded = colour.call(client.files.create, file=file("a.jsonl", b"{}\n"), purpose="batch")
    assert colour.call(client.files.content, uploaded.id).content == b"{}\n"
    batch = colour.call(
        client.batches.create, input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert colour.call(client.batches.retrieve, batch.id).input_file_id == uploaded.id
    assert colour.call(client.files.delete, uploaded.id).deleted


def test_a_deployment_that_is_not_there_is_named_with_what_was_asked_for(colour: Colour) -> None:
    with FakeAzure({"eastus": ["prod-4o"]}) as azure:
        east = azure["eastus"]
        client = colour.client(
            azure_endpoint=east.endpoint,
            api_key=east.api_key,
            api_version="2024-10-21",
            deployments={"gpt-4o": "prod-4o", "o3": "prod-o3"},
        )
        with pytest.raises(openai.NotFoundError) as caught:
            colour.call(client.chat.completions.create, model="o3", messages=MESSAGES)
    for part in ("deployment", "'o3'", "'prod-o3'", "127.0.0.1", "gpt-4o, o3"):
        assert part in str(caught.value)
    assert caught.value.code == "DeploymentNotFound"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("content_filter", openai.BadRequestError),
        ("429_token_rate", openai.RateLimitError),
        ("401_token", openai.AuthenticationError),
        ("403_network", openai.PermissionDeniedError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
    ],
)
def test_azures_errors_reach_the_caller_as_they_are(
    fault: str, error: type[openai.APIStatusError], colour: Colour
) -> None:
    with FakeAzure({"eastus": ["gpt-4o"]}) as azure:
        east = azure["eastus"]
        east.fail_next(fault)
        client = colour.client(azure_endpoint=east.endpoint, api_key=east.api_key, max_retries=0)
        with pytest.raises(error) as caught:
            colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
        assert len(azure.requests) == 1
    assert caught.value.request_id
    assert caught.value.response.headers["apim-request-id"]
    if fault == "content_filter":
        assert caught.value.code == "content_filter"
        assert caught.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("name", ["a/b c", "zwölf", "../../files", "100%", "chat/completions"])
@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_odd_names_that_azures_own_client_spells_are_read_and_left_alike(
    name: str, version: str, colour: Colour
) -> None:
    """openai 1.x and 2.x escape no name in a path; ours leave with it as one segment."""
    with FakeAzure({"eastus": [name]}) as azure:
        east = azure["eastus"]
        settings: dict[str, Any] = {"azure_endpoint": east.endpoint, "api_key": east.api_key, "api_version": version}
        plain = colour.client(**settings)
        spelt = colour.azure(
            azure_endpoint="https://r.openai.azure.com",
            api_key="k",
            api_version="2023-05-15",
            http_client=colour.http_client(**settings),
        )
        for client in (plain, spelt):
            colour.call(client.chat.completions.create, model=name, messages=MESSAGES)
        assert len({seen.raw_path for seen in azure.requests}) == 1
        assert [seen.deployment for seen in azure.requests] == [name] * 2
        assert azure.leaks == []


def test_the_same_client_serves_the_fake_in_process(colour: Colour, library: Any) -> None:
    azure = FakeAzure(["eastus"])
    transport = azure.async_transport(library.__name__) if colour.is_async else azure.transport(library.__name__)
    client = colour.client(
        azure_endpoint=azure["eastus"].host_endpoint,
        api_key=azure["eastus"].api_key,
        http_client=colour.library_client(library, transport=transport),
    )
    answered = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert answered.choices[0].message.content.startswith("Hello from eastus/gpt-4o")
    assert azure.leaks == []


def test_the_http_client_s_example_calls_and_streams() -> None:
    printed = run("examples/one_http_client.py")
    assert "called   Hello from eastus/prod-4o: Good morning" in printed
    assert "streamed [Hello] [from] [eastus/prod-4o:] [Good] [night]" in printed
    assert printed.count("to Azure: POST /openai/v1/chat/completions, deployment prod-4o") == 2


def test_the_patch_s_example_meets_every_way_to_call_and_ends() -> None:
    printed = run("examples/patched.py")
    for question in ("Who are you?", "And who are you?", "And you?", "Who are you now?"):
        assert f"Hello from eastus/prod-4o: {question}" in printed
    assert "afterwards a client goes to api.openai.com" in printed
    assert "4 requests came to Azure" in printed


def test_the_legacy_example_is_answered_in_the_shapes_of_its_time() -> None:
    printed = run("examples/legacy.py")
    assert "answered  Hello from eastus/prod-4o: Hello (" in printed
    assert "streamed [Hello][from][eastus/prod-4o:][Count][to][five.]" in printed
    assert "embedded  [1536, 1536]" in printed
    assert "refused   RateLimitError, wait for 7 s" in printed
