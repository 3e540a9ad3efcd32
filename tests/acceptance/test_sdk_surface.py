"""Every method of the installed SDK: where it goes on each surface, or that it is refused before anything is sent."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai._resource import AsyncAPIResource, SyncAPIResource

from tests.conftest import MAJOR, OWN_LIBRARY, Colour

# They call others of the methods, in loops that wait for what no test server does, or open sockets of another kind.
NOT_WALKED = re.compile(r"poll|wait_for|connect|stream|upload_file_chunked|_and_run_poll|unwrap|verify_signature|parse")
DEPLOYMENT_OPERATIONS = {
    "/completions",
    "/chat/completions",
    "/embeddings",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/images/generations",
    "/images/edits",
}
# Not on Azure under any api-version, by their first segment or as a whole.
NOT_OFFERED = re.compile(
    r"/moderations|/images/variations|/chatkit/.*|/organization/.*|/projects/.*|/content_provenance_checks"
    r"|/fine_tuning/checkpoints/.*|/videos/(edits|extensions|characters.*)"
)
CLASSIC_ONLY = re.compile(r"/(assistants|threads|uploads)(/.*)?|/realtime/(transcription_)?sessions")
V1_ONLY = re.compile(
    r"/(containers|conversations|skills|videos|realtime/calls|realtime/client_secrets|fine_tuning/alpha)(/.*)?"
    r"|/responses/(compact|input_tokens|[^/]*/cancel)"
)

# What the classic surface has. Anything else is newer in the SDK than what is known of Azure, and passes through as it
# is spelled, which is v1's spelling.
ON_CLASSIC = re.compile(
    r"/(completions|embeddings|chat|images|files|batches|fine_tuning|models|responses|vector_stores|assistants|threads"
    r"|uploads|evals|realtime/(transcription_)?sessions|audio/(speech|transcriptions|translations))(/.*)?"
)


def walk(resource: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every public method of a client's resources, with its dotted name."""
    for name in sorted(set(dir(type(resource)))):
        if name.startswith(("_", "with_")):
            continue
        found = inspect.getattr_static(type(resource), name)
        if isinstance(found, property) or type(found).__name__ == "cached_property":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                child = getattr(resource, name)
            if isinstance(child, (SyncAPIResource, AsyncAPIResource)):
                yield from walk(child, f"{path}{name}.")
        elif path and inspect.isfunction(found) and not NOT_WALKED.search(name):
            yield path + name, getattr(resource, name)


def arguments_for(method: Any) -> dict[str, Any]:
    """Something of about the right kind for every argument that has to be given."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        kind = str(parameter.annotation)
        if "File" in kind and "Iterable" not in kind:
            found[name] = ("a.txt", b"content")
        elif re.match(r"(Iterable|List|Sequence)", kind):
            found[name] = []
        elif kind.startswith(("Dict", "Mapping")) or "Param" in kind or kind.endswith("DataSourceConfig"):
            found[name] = {}
        elif kind in ("int", "float"):
            found[name] = 1
        elif kind == "bool":
            found[name] = True
        else:
            found[name] = f"{name}-1"
    if "model" in inspect.signature(method).parameters:
        found["model"] = "model-1"
    return found


class Recorder:
    def __init__(self, colour: Colour) -> None:
        self.library = importlib.import_module(OWN_LIBRARY)
        self.sent: list[Any] = []
        transport = colour.mock_transport(self.library, self._handle)
        self.client = colour.library_client(self.library, transport=transport)

    def _handle(self, request: Any) -> Any:
        self.sent.append(request)
        body = {"id": "x", "object": "list", "data": [], "status": "completed", "choices": [], "output": []}
        return self.library.Response(200, json=body)


def openai_spelling(colour: Colour, method_name: str, arguments: dict[str, Any]) -> tuple[str, str] | None:
    """What openai's own client sends for a call: its method and its path below /v1."""
    recorder = Recorder(colour)
    client = colour.plain(api_key="k", base_url="https://api.openai.com/v1", http_client=recorder.client, max_retries=0)
    call(colour, client, method_name, arguments)
    if not recorder.sent:
        return None
    request = recorder.sent[0]
    return request.method, request.url.raw_path.decode().partition("?")[0].removeprefix("/v1")


def call(colour: Colour, client: Any, method_name: str, arguments: dict[str, Any]) -> Exception | None:
    target = client
    for name in method_name.split("."):
        target = getattr(target, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = target(**arguments)
            if inspect.isawaitable(result):
                colour.run(_awaited(result))
    except Exception as error:
        return error
    return None


async def _awaited(value: Any) -> Any:
    return await value


@pytest.mark.parametrize("version", ["2025-04-01-preview", "v1"])
def test_every_method_goes_where_azure_has_it_or_is_refused(version: str, colour: Colour) -> None:
    recorder = Recorder(colour)
    client = colour.client(
        azure_endpoint="https://r.openai.azure.com",
        api_key="the-key",
        api_version=version,
        http_client=recorder.client,
        max_retries=0,
    )
    walked, sent, refused, in_deployments = 0, 0, 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        methods = dict(walk(client))
    for name, method in methods.items():
        arguments = arguments_for(method)
        plain = openai_spelling(colour, name, arguments)
        if plain is None:
            continue
        walked += 1
        recorder.sent.clear()
        error = call(colour, client, name, arguments)
        beta = name.startswith("beta.responses")
        if expected_refusal(plain, version, beta=beta):
            assert recorder.sent == [], f"{name} was sent to {recorder.sent[0].url}"
            assert isinstance(error, openai.NotFoundError), f"{name}: {error!r}"
            assert error.response.headers["x-azure-shim-refused"], name
            refused += 1
            continue
        assert recorder.sent, f"{name} was not sent: {error!r}"
        request = recorder.sent[0]
        assert_at_azure(name, request, plain, version, beta=beta)
        if "/deployments/" in request.url.path:
            in_deployments.add(plain[1])
        sent += 1
    assert in_deployments == (set() if version == "v1" else DEPLOYMENT_OPERATIONS)
    assert sent > 80, "the walk found too few methods"
    assert refused >= (50 if version == "v1" else 40) - (20 if MAJOR == 1 else 0)
    assert walked == sent + refused


def expected_refusal(plain: tuple[str, str], version: str, *, beta: bool) -> bool:
    method, path = plain
    if NOT_OFFERED.fullmatch(path) or (method == "DELETE" and path.startswith("/models/")):
        return True
    if version == "v1":
        return CLASSIC_ONLY.fullmatch(path) is not None
    return beta or V1_ONLY.fullmatch(path) is not None


def assert_at_azure(name: str, request: Any, plain: tuple[str, str], version: str, *, beta: bool) -> None:
    method, path = plain
    if name == "evals.runs.cancel":
        path = path.removesuffix("/cancel")  # Azure cancels by a POST to the run itself
    url = request.url
    assert (request.method, url.host, request.headers["host"]) == (method, "r.openai.azure.com", "r.openai.azure.com")
    assert request.headers["api-key"] == "the-key"
    assert "authorization" not in request.headers
    if version == "v1":
        assert url.raw_path.decode().partition("?")[0] == f"/openai/v1{path}", name
        assert dict(url.params).get("api-version") == ("preview" if beta else None), name
        return
    if not ON_CLASSIC.fullmatch(path):
        assert url.raw_path.decode() == f"/openai/v1{path}", name
        return
    if path in DEPLOYMENT_OPERATIONS and method == "POST":
        expected = f"/openai/deployments/model-1{path}"
    elif path.startswith("/realtime/"):
        expected = path.replace("/realtime/", "/openai/realtimeapi/")
    else:
        expected = f"/openai{path}"
    assert url.raw_path.decode().partition("?")[0] == expected, name
    assert url.params.get_list("api-version") == [version], name
