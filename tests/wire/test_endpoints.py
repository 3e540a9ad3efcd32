"""Every spelling of an endpoint that the portal, the docs and older code use, and every one that is refused."""

from __future__ import annotations

import pytest

from azure_shim.clouds import cloud_of
from azure_shim.wire.endpoints import EndpointError, ParsedEndpoint, is_loopback, of_resource, parse

HOST = "https://r.openai.azure.com"
SERVICES = "https://r.services.ai.azure.com"
CANARY = "canary-0123456789"


def bases(parsed: ParsedEndpoint) -> tuple[str, str | None, str]:
    endpoint = parsed.endpoint
    return str(endpoint.origin), endpoint.classic, endpoint.v1


def said(parsed: ParsedEndpoint) -> tuple[bool | None, str | None, str | None, str | None]:
    return parsed.v1, parsed.api_version, parsed.deployment, parsed.operation


@pytest.mark.parametrize(
    "text",
    [
        "r.openai.azure.com",
        "r.openai.azure.com/",
        "//r.openai.azure.com",
        HOST,
        HOST + "/",
        HOST + "//",
        HOST + "\n",
        "  " + HOST + "/ \t\r\n",
        "HTTPS://R.OPENAI.AZURE.COM",
        "https://R.OpenAI.Azure.com/OpenAI",
        HOST + ":443",
        HOST + "/openai",
        HOST + "/openai/",
        HOST + "//openai//",
        HOST + "/openai/deployments",
        HOST + "/openai/deployments/",
        HOST + "#overview",
    ],
)
@pytest.mark.parametrize("verbatim", [False, True])
def test_every_spelling_of_a_resource_is_the_same_resource(text: str, verbatim: bool) -> None:
    parsed = parse(text, verbatim=verbatim)

    assert bases(parsed) == (HOST, "/openai", "/openai/v1")
    assert parsed.endpoint.cloud == "public"
    assert said(parsed) == (None, None, None, None)
    assert not parsed.endpoint.is_project


@pytest.mark.parametrize("verbatim", [False, True])
@pytest.mark.parametrize("text", [HOST + ".", HOST + "./", "r.openai.azure.com./openai", HOST + ".:443/"])
def test_a_trailing_dot_is_no_part_of_the_origin(text: str, verbatim: bool) -> None:
    """The name is the same one, and no certificate is valid for the spelling with the dot."""
    parsed = parse(text, verbatim=verbatim)
    assert bases(parsed) == (HOST, "/openai", "/openai/v1")
    assert parsed.endpoint.cloud == "public"


@pytest.mark.parametrize(
    ("text", "v1", "version", "deployment", "operation"),
    [
        (HOST + "/openai/v1", True, None, None, None),
        (HOST + "/openai/v1/", True, None, None, None),
        (HOST + "/openai/v1/\n", True, None, None, None),
        (HOST + "/v1", True, None, None, None),
        (HOST + "/openai/v1/chat/completions", True, None, None, "/chat/completions"),
        (HOST + "/openai/v1/responses?api-version=preview", True, "preview", None, "/responses"),
        (HOST + "/openai/v1?api-version=v1", True, None, None, None),
        (HOST + "?api-version=2024-10-21", None, "2024-10-21", None, None),
        (HOST + "/openai/?api-version=2024-10-21", None, "2024-10-21", None, None),
        (HOST + "?api-version=", None, None, None, None),
        (HOST + "/openai/deployments/dep", None, None, "dep", None),
        (HOST + "/openai/deployments/dep/", None, None, "dep", None),
        (HOST + "/openai/deployments/my%20dep", None, None, "my dep", None),
        (HOST + "/openai/deployments/a%2Fb", None, None, "a/b", None),
        (
            HOST + "/openai/deployments/dep/chat/completions?api-version=2025-01-01-preview",
            False,
            "2025-01-01-preview",
            "dep",
            "/chat/completions",
        ),
        (HOST + "/openai/deployments/emb/embeddings?api-version=2023-05-15", False, "2023-05-15", "emb", "/embeddings"),
        (
            HOST + "/openai/deployments/w/audio/transcriptions?x=1&api-version=2024-06-01",
            False,
            "2024-06-01",
            "w",
            "/audio/transcriptions",
        ),
        (HOST + "/openai/deployments/dep/chat/completions", None, None, "dep", "/chat/completions"),
        (HOST + "/openai/responses?api-version=2025-04-01-preview", None, "2025-04-01-preview", None, "/responses"),
        (
            HOST + "/openai/realtime?api-version=2024-10-01-preview&deployment=rt",
            None,
            "2024-10-01-preview",
            None,
            "/realtime",
        ),
        (HOST + "/openai/models?api-version=2024-10-21", None, "2024-10-21", None, "/models"),
        (SERVICES + "/models", None, None, None, None),
        (SERVICES + "/models?api-version=2024-05-01-preview", None, "2024-05-01-preview", None, None),
        (
            SERVICES + "/models/chat/completions?api-version=2024-05-01-preview",
            None,
            "2024-05-01-preview",
            None,
            "/models/chat/completions",
        ),
    ],
)
def test_a_target_uri_says_more_than_where(
    text: str, v1: bool | None, version: str | None, deployment: str | None, operation: str | None
) -> None:
    parsed = parse(text)

    assert bases(parsed) == (SERVICES if text.startswith(SERVICES) else HOST, "/openai", "/openai/v1")
    assert said(parsed) == (v1, version, deployment, operation)


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("r.openai.azure.com", "public"),
        ("r.cognitiveservices.azure.com", "public"),
        ("r.services.ai.azure.com", "public"),
        ("R.Services.AI.Azure.COM", "public"),
        ("r.privatelink.openai.azure.com", "public"),
        ("r.openai.azure.us", "usgov"),
        ("r.cognitiveservices.azure.us", "usgov"),
        ("r.services.ai.azure.us", "usgov"),
        ("r.openai.azure.cn", "china"),
        ("r.cognitiveservices.azure.cn", "china"),
        ("r.services.ai.azure.cn", "china"),
        ("r.openai.azure.com.evil.example", None),
        ("openai.azure.com.evil.example", None),
        ("ropenai.azure.com", None),
        ("evil-openai.azure.com", None),
        ("openai.azure.com", None),
        ("gw.azure-api.net", None),
        ("azure.com", None),
        ("localhost", None),
    ],
)
def test_a_cloud_is_known_by_its_suffix_on_a_dot_boundary(host: str, cloud: str | None) -> None:
    assert cloud_of(host) == cloud
    assert cloud_of(host + ".") == cloud
    assert parse("https://" + host).endpoint.cloud == cloud


@pytest.mark.parametrize("rest", ["", "/", "/openai", "/openai/v1", "/openai/v1/", "/openai/v1?api-version=v1"])
def test_a_project_has_the_v1_surface_alone(rest: str) -> None:
    parsed = parse(SERVICES + "/api/projects/my-project" + rest)

    assert bases(parsed) == (SERVICES, None, "/api/projects/my-project/openai/v1")
    assert parsed.v1 is True
    assert parsed.endpoint.is_project


def test_a_project_behind_a_gateway_keeps_its_path() -> None:
    assert bases(parse("https://gw.example/api/projects/p")) == (
        "https://gw.example",
        None,
        "/api/projects/p/openai/v1",
    )


GATEWAY = "https://gw.azure-api.net"


@pytest.mark.parametrize(
    ("text", "verbatim", "classic", "v1_base", "v1", "deployment"),
    [
        # As azure_endpoint the path is a prefix, to which the SDK adds /openai; as base_url it is taken as it stands.
        (GATEWAY, False, "/openai", "/openai/v1", None, None),
        (GATEWAY + "/PTU", False, "/PTU/openai", "/PTU/openai/v1", None, None),
        (GATEWAY + "/PTU/", False, "/PTU/openai", "/PTU/openai/v1", None, None),
        (GATEWAY + "/a/b", False, "/a/b/openai", "/a/b/openai/v1", None, None),
        (GATEWAY, True, "", "", None, None),
        (GATEWAY + "/PTU", True, "/PTU", "/PTU", None, None),
        (GATEWAY + "/PTU/", True, "/PTU", "/PTU", None, None),
        (GATEWAY + "/a/b", True, "/a/b", "/a/b", None, None),
        # What the path itself spells out needs no guess.
        (GATEWAY + "/PTU/openai", False, "/PTU/openai", "/PTU/openai/v1", None, None),
        (GATEWAY + "/PTU/openai", True, "/PTU/openai", "/PTU/openai/v1", None, None),
        (GATEWAY + "/PTU/openai/v1", False, "/PTU/openai", "/PTU/openai/v1", True, None),
        (GATEWAY + "/PTU/openai/v1/", True, "/PTU/openai", "/PTU/openai/v1", True, None),
        (GATEWAY + "/PTU/v1", False, "/PTU", "/PTU/v1", True, None),
        (GATEWAY + "/PTU/v1", True, "/PTU", "/PTU/v1", True, None),
        (GATEWAY + "/PTU/deployments/dep", False, "/PTU", "/PTU/v1", None, "dep"),
        (GATEWAY + "/PTU/deployments/dep", True, "/PTU", "/PTU/v1", None, "dep"),
        (GATEWAY + "/PTU/openai/deployments/dep/", True, "/PTU/openai", "/PTU/openai/v1", None, "dep"),
        (GATEWAY + "/openai/x/openai", False, "/openai/x/openai", "/openai/x/openai/v1", None, None),
    ],
)
def test_a_gateway_keeps_its_prefix(
    text: str, verbatim: bool, classic: str, v1_base: str, v1: bool | None, deployment: str | None
) -> None:
    parsed = parse(text, verbatim=verbatim)

    assert bases(parsed) == (GATEWAY, classic, v1_base)
    assert said(parsed) == (v1, None, deployment, None)
    assert parsed.endpoint.cloud is None


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://aoai.corp.internal", "https://aoai.corp.internal"),
        ("https://aoai", "https://aoai"),
        ("https://my_gateway.example:8443", "https://my_gateway.example:8443"),
        ("https://10.0.0.4", "https://10.0.0.4"),
        ("https://[fd00::1]:8443/", "https://[fd00::1]:8443"),
        ("https://[FD00::1]", "https://[fd00::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://localhost", "http://localhost"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://azure.localhost:1", "http://azure.localhost:1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.1.2.3:80", "http://127.1.2.3"),
        ("http://[::1]", "http://[::1]"),
        ("http://[::1]:65535/", "http://[::1]:65535"),
        ("https://localhost:443", "https://localhost"),
        ("localhost:8443", "https://localhost:8443"),
    ],
)
def test_private_names_addresses_and_loopback_are_origins_too(text: str, origin: str) -> None:
    assert bases(parse(text)) == (origin, "/openai", "/openai/v1")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.evil.example", False),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::2", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("ftp://r.openai.azure.com", "scheme 'ftp'"),
        ("wss://r.openai.azure.com", "scheme 'wss'"),
        ("://r.openai.azure.com", "scheme ''"),
        ("http://r.openai.azure.com", "plain http"),
        ("http://gw.example/PTU", "plain http"),
        ("http://localhost.evil.example", "plain http"),
        ("http://0.0.0.0:8000", "plain http"),
        ("https://user:pass@r.openai.azure.com", "user name or password"),
        ("https://user@r.openai.azure.com", "user name or password"),
        ("user:pass@r.openai.azure.com", "user name or password"),
        ("https://@r.openai.azure.com", "user name or password"),
        ("https://r.openai.azure.com@evil.example", "user name or password"),
        ("https://api.openai.com", "OpenAI's own service"),
        ("https://api.openai.com/v1", "OpenAI's own service"),
        ("https://API.OpenAI.com:443/v1/", "OpenAI's own service"),
        ("https://eu.api.openai.com/v1", "OpenAI's own service"),
        ("https://", "no host"),
        ("https:///openai", "no host"),
        ("https://:443", "no host"),
        ("https://?api-version=2024-10-21", "no host"),
        ("https://r.openai.azure.com:port", "is no URL"),
        ("https://r.openai.azure.com:65536", "is no URL"),
        ("https://r.openai.azure.com:-1", "is no URL"),
        ("https://[::1", "is no URL"),
        ("https://[zz]", "is no"),
        ("https://my resource.openai.azure.com", "no domain name"),
        ("https://<resource>.openai.azure.com", "no domain name"),
        ("https://{resource}.openai.azure.com", "no domain name"),
        ("https://r.openai.azure.com\\@evil", "user name or password"),
        ("not a url", "no domain name"),
        (HOST + "/openai/../secrets", "'.' or '..' segment"),
        (HOST + "/./openai", "'.' or '..' segment"),
        (HOST + "/openai/deployments/%2E%2e/chat/completions", "'.' or '..' segment"),
        (HOST + "/openai/deployments/%2e", "'.' or '..' segment"),
        (HOST + "/dashboard", "unknown path '/dashboard'"),
        (HOST + "/openai/v2", "unknown path '/v2'"),
        (HOST + "/openai/deployments/dep/unknown", "unknown path '/unknown'"),
        (HOST + "/openai/v1/chat", "unknown path '/chat'"),
        (SERVICES + "/api/projects/p/agents", "'/agents' below a project"),
        (SERVICES + "/api/projects", "unknown path"),
    ],
)
def test_what_is_no_endpoint_gets_one_error_that_says_why(text: str, message: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["https://api.openai.com.", "https://api.openai.com./v1", "https://eu.api.openai.com."]
)
def test_openai_s_own_service_is_refused_with_a_trailing_dot_too(text: str) -> None:
    with pytest.raises(EndpointError, match="OpenAI's own service"):
        parse(text)


@pytest.mark.parametrize("text", ["https:/r.openai.azure.com", "https:r.openai.azure.com", "http:/localhost"])
def test_a_scheme_without_its_slashes_is_not_taken_for_a_host(text: str) -> None:
    with pytest.raises(EndpointError):
        parse(text)


@pytest.mark.parametrize("text", ["https://.openai.azure.com", "https://r..openai.azure.com", "https://.example"])
def test_an_empty_label_is_no_domain_name(text: str) -> None:
    """What is left of ``https://${RESOURCE}.openai.azure.com`` when the variable is not set."""
    with pytest.raises(EndpointError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "v1"),
    [
        ("https://gw.azure-api.net/openai/team-a", "/openai/team-a"),
        ("https://gw.azure-api.net/openai/inference/v1", "/openai/inference/v1"),
        ("https://gw.example/genai/openai/prod", "/genai/openai/prod"),
    ],
)
def test_a_gateways_own_path_may_have_a_segment_openai(text: str, v1: str) -> None:
    assert parse(text, verbatim=True).endpoint.v1 == v1


@pytest.mark.parametrize("text", ["https//r.openai.azure.com", "http//r.openai.azure.com"])
def test_a_scheme_without_its_colon_is_no_host(text: str) -> None:
    with pytest.raises(EndpointError, match="its scheme is not followed by"):
        parse(text)


def test_port_zero_is_not_taken_for_the_default_port() -> None:
    with pytest.raises(EndpointError):
        parse(HOST + ":0")


@pytest.mark.parametrize(
    "text",
    [
        f"https://{CANARY}@r.openai.azure.com",
        f"https://user:{CANARY}@r.openai.azure.com/openai",
        f"https://user:{CANARY}@r.openai.azure.com:port",
        f"https://user:{CANARY}/x@r.openai.azure.com",
        f"ftp://user:{CANARY}@r.openai.azure.com",
        f"http://user:{CANARY}@r.openai.azure.com",
        f"http://r.openai.azure.com?api-key={CANARY}",
        f"{HOST}/dashboard?api-key={CANARY}",
        f"{HOST}/dashboard?api-version={CANARY}",
        f"{HOST}/openai/../x?api-key={CANARY}",
        f"{SERVICES}/api/projects/p/agents?code={CANARY}#{CANARY}",
        f"https://api.openai.com/v1?key={CANARY}",
        f"https:///openai?key={CANARY}",
        f"https://my host?key={CANARY}",
    ],
)
def test_no_error_quotes_user_information_or_a_query(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse(text)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("name", ["my-resource", "R2", "a1", "x" * 64])
def test_a_resource_name_is_the_public_cloud(name: str) -> None:
    assert bases(of_resource(name)) == (f"https://{name.lower()}.openai.azure.com", "/openai", "/openai/v1")
    assert of_resource(name).endpoint.cloud == "public"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-a",
        "a-",
        "a.b",
        "a_b",
        "a/b",
        "ä",
        "x" * 65,
        HOST,
        "r.openai.azure.com",
        "r@evil",
        "r\n",
        "evil.example/",
    ],
)
def test_what_is_no_resource_name_is_refused(name: str) -> None:
    with pytest.raises(EndpointError, match="is not the name of a resource"):
        of_resource(name)


def test_a_resource_name_has_at_least_two_characters() -> None:
    with pytest.raises(EndpointError, match="2 to 64"):
        of_resource("a")
