"""Without a key: what the tokens of a service principal cost, with the real azure-identity and a token service.

Sixteen callers share one client while the token is due for a refresh every few seconds, and the token service takes
400 ms: how long calls take, how many wait for the token service, and how many requests it gets for each refresh. And
the CPU time that it takes to sign one call while the token is good.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import azure.identity
import openai

import azure_shim
from azure_shim.auth.flow import attach
from azure_shim.testing import TokenService

from .calls import CHAT
from .clients import AZURE, HTTP_CLIENT, SHIM
from .effort import Effort
from .measure import cpu_s, interleave
from .processes import Server
from .table import Row

__all__ = ["refreshes", "signing"]

_CALLERS = 16
_SERVICE_S = 0.4
# A call that takes longer than this has waited for the token service; all others take a few milliseconds.
_WAITED_S = 0.3
_SCOPE = "https://cognitiveservices.azure.com/.default"
_API_VERSION = "2024-10-21"


class _Taken(NamedTuple):
    """Of one contender: how long its calls took, in seconds, and how many requests it took to refresh how often."""

    calls_s: list[float]
    requests: int
    refreshes: int

    @property
    def waited(self) -> float:
        """The share of the calls that waited for the token service, in percent."""
        return 100 * sum(took > _WAITED_S for took in self.calls_s) / len(self.calls_s)

    @property
    def p99_s(self) -> float:
        return statistics.quantiles(self.calls_s, n=100)[98]


def _credential(service: TokenService) -> Any:
    return azure.identity.ClientSecretCredential(
        service.tenant_id,
        service.client_id,
        service.client_secret,
        authority=service.authority,
        disable_instance_discovery=True,
        connection_verify=service.ca_file,
    )


def _client(name: str, endpoint: str, credential: Any) -> Any:
    arguments: dict[str, Any] = {"azure_endpoint": endpoint, "api_version": _API_VERSION}
    if name == SHIM:
        return azure_shim.OpenAI(**arguments, credential=credential, max_retries=0)
    if name == HTTP_CLIENT:
        made = azure_shim.http_client(**arguments, credential=credential)
        return openai.OpenAI(api_key="unused", http_client=made, max_retries=0)
    provider = azure.identity.get_bearer_token_provider(credential, _SCOPE)
    return openai.AzureOpenAI(**arguments, azure_ad_token_provider=provider, max_retries=0)


def refreshes(effort: Effort) -> Iterator[Row]:
    """Latency of the calls that come after the first one, over a few refreshes."""
    taken: dict[str, _Taken] = {}
    with Server(effort) as server:
        for name in (AZURE, SHIM, HTTP_CLIENT):
            taken[name] = _run(name, server.endpoint("chat"), effort)
    work = f"{_CALLERS} callers, a refresh every {effort.refresh_s:g} s"
    yield Row(f"{work}: calls that wait", {n: t.waited for n, t in taken.items()}, unit="%", target=0.0)
    yield Row(f"{work}: p99", {n: t.p99_s * 1e3 for n, t in taken.items()}, unit="ms")
    yield Row(
        f"{work}: requests for each",
        {n: t.requests / t.refreshes for n, t in taken.items()},
        target=1.0,
        note=f"{len(taken[SHIM].calls_s)} calls and {taken[SHIM].refreshes} tokens of {SHIM}",
    )


def _run(name: str, endpoint: str, effort: Effort) -> _Taken:
    calls_s: list[float] = []
    refresh_s = round(effort.refresh_s)
    # Azure's own provider refreshes some time after it should, to spread the load, and at the end at the latest.
    made = TokenService(delay_s=_SERVICE_S, refresh_in_s=refresh_s, lifetime_s=refresh_s + 2)
    with made as service, _credential(service) as own:
        client = _client(name, endpoint, own)
        client.chat.completions.create(**CHAT)
        end = time.perf_counter() + effort.refreshes * effort.refresh_s
        callers = [threading.Thread(target=_call_until, args=(client, end, calls_s)) for _ in range(_CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        client.close()
        moments = sorted(asked.at for asked in service.requests)
    return _Taken(calls_s, len(moments), _refreshes(moments))


def _refreshes(moments: list[float]) -> int:
    """How many there were: requests that came while one was under way belong to the same."""
    return sum(1 for i, at in enumerate(moments) if i == 0 or at - moments[i - 1] > _SERVICE_S * 2)


def _call_until(client: Any, end: float, calls_s: list[float]) -> None:
    own = []  # a list that sixteen threads share would be one more thing to wait for
    while (start := time.perf_counter()) < end:
        client.chat.completions.create(**CHAT)
        own.append(time.perf_counter() - start)
        time.sleep(0.01)  # callers that only call would measure nothing but their own queue for the interpreter
    calls_s.extend(own)


def signing(effort: Effort) -> Iterator[Row]:
    """The CPU time for the header of one call, whose token is good."""
    with TokenService() as service, _credential(service) as credential:
        client = azure_shim.OpenAI(azure_endpoint="https://r.openai.azure.com", credential=credential)
        provider = azure.identity.get_bearer_token_provider(credential, _SCOPE)
        signed = client.azure_shim_settings.target.credential
        signed.tokens.launch(signed.tokens.board()[0])
        signed.tokens.board()[0].future.result()
        provider()
        each = 2_000

        def sign() -> object:
            try:
                next(attach(signed))
            except StopIteration as done:
                return done.value
            raise AssertionError("a good token needs nothing")

        works: dict[str, Callable[[], Any]] = {AZURE: provider, SHIM: sign}

        def turn_of(work: Callable[[], Any]) -> Callable[[], dict[str, float]]:
            def repeat() -> None:
                for _ in range(each):
                    work()

            return lambda: {"cpu": cpu_s(repeat) / each}

        measured = interleave({name: turn_of(work) for name, work in works.items()}, AZURE, effort)["cpu"]
        client.close()
    cells = {name: measured.median(name) * measured.baseline_s * 1e6 for name in works}
    yield Row("signing one call with a token, CPU", cells, unit="us", target=5.0)
