"""The token slot in a client: refreshed ahead, asked once, in nobody's way (P2, P21, P23, P24, P56, B5, B35, B36)."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

import azure.identity
import azure.identity.aio
import pytest
import trio

import azure_shim
from azure_shim.auth import tokens
from azure_shim.testing import FakeAzure, TokenService
from tests.conftest import Colour
from tests.identities import chat, client_secret, sent, until
from tests.servers import MESSAGES

pytestmark = pytest.mark.usefixtures("service_principal")


class Clock:
    """Moves the clocks of the slots, of azure-identity and of the token service: nobody waits for an hour to pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        monotonic, wall = time.monotonic, time.time
        monkeypatch.setattr(time, "time", lambda: wall() + self.ahead_s)
        made = tokens.TokenSlot.__init__

        def with_clock(slot: Any, source: Any, **options: Any) -> None:
            made(
                slot,
                source,
                clock=lambda: monotonic() + self.ahead_s,
                wall=time.time,
                chance=lambda: 0.0,
                **options,
            )

        monkeypatch.setattr(tokens.TokenSlot, "__init__", with_clock)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class TestSingleFlight:
    def test_fifty_threads_make_one_request(self, service: TokenService, endpoint: str) -> None:
        service.delay_s = 0.2
        with azure_shim.OpenAI(azure_endpoint=endpoint, azure_auth_mode="entra") as client:
            for round_ in (1, 2):
                barrier = threading.Barrier(50)
                failures: list[BaseException] = []

                def call(barrier: threading.Barrier = barrier, failures: list[Any] = failures) -> None:
                    barrier.wait()
                    try:
                        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                    except BaseException as error:
                        failures.append(error)

                threads = [threading.Thread(target=call) for _ in range(50)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert failures == []
                assert len(service.requests) == round_
                azure_shim.reset_tokens()

    @pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
    def test_two_hundred_tasks_make_one_request(self, module: Any, service: TokenService, endpoint: str) -> None:
        service.delay_s = 0.2

        async def main() -> None:
            credential = client_secret(service, module)
            async with azure_shim.AsyncOpenAI(azure_endpoint=endpoint, credential=credential) as client:
                calls = [client.chat.completions.create(model="gpt-4o", messages=MESSAGES) for _ in range(200)]
                await asyncio.gather(*calls)
            closed = credential.close()
            if closed is not None:
                await closed

        asyncio.run(main())
        assert len(service.requests) == 1

    def test_threads_with_event_loops_of_their_own_share_one_request(
        self, service: TokenService, endpoint: str
    ) -> None:
        service.delay_s = 0.2
        barrier, failures = threading.Barrier(8), []

        async def main() -> None:
            async with azure_shim.AsyncOpenAI(azure_endpoint=endpoint, azure_auth_mode="entra") as client:
                barrier.wait()
                await asyncio.gather(
                    *(client.chat.completions.create(model="gpt-4o", messages=MESSAGES) for _ in range(5))
                )

        def run() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(service.requests) == 1


class TestRefresh:
    def test_it_starts_ahead_of_the_end_and_no_call_waits_for_it(
        self, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str, clock: Clock
    ) -> None:
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        chat(colour, client)
        held = service.fail_next("stall")
        clock.ahead_s = service.lifetime_s - 299
        for _ in range(5):
            chat(colour, client)
        until(held.reached.is_set)
        assert sent(azure_openai) == [service.tokens[0]] * 6
        held.release()
        until(lambda: len(service.tokens) == 2)
        until(lambda: (chat(colour, client), sent(azure_openai)[-1] == service.tokens[1])[1])
        assert len(service.requests) == 2

    def test_refresh_on_wins_over_the_five_minutes(
        self, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str, clock: Clock
    ) -> None:
        service.refresh_in_s = 1
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        chat(colour, client)
        until(lambda: (chat(colour, client), len(service.tokens) == 2)[1])
        until(lambda: (chat(colour, client), sent(azure_openai)[-1] == service.tokens[1])[1])
        assert len(service.requests) == 2

    def test_a_failed_one_is_an_event_and_no_error(
        self,
        colour: Colour,
        service: TokenService,
        azure_openai: FakeAzure,
        endpoint: str,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The sync ClientSecretCredential itself gives up here, in a token's last five minutes."""
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        chat(colour, client)
        service.fail_next("invalid_client", times=None)
        clock.ahead_s = service.lifetime_s - 200
        with caplog.at_level(logging.WARNING, "azure_shim"):
            chat(colour, client)
            until(lambda: [record for record in caplog.records if record.name == "azure_shim.tokens"])
        for _ in range(20):
            chat(colour, client)
        assert set(sent(azure_openai)) == {service.tokens[0]}
        (record,) = [record for record in caplog.records if record.name == "azure_shim.tokens"]
        event = record.azure_shim  # type: ignore[attr-defined]
        assert (event.credential, event.scope) == ("ClientSecretCredential", "https://ai.azure.com/.default")
        assert "AADSTS7000215" in event.message
        assert len(service.requests) == 2
        # Half a minute later it is tried again.
        service.heal()
        clock.ahead_s += 31
        until(lambda: (chat(colour, client), sent(azure_openai)[-1] == service.tokens[-1])[1] and service.tokens[1:])

    def test_a_token_that_ends_while_the_sdk_backs_off_is_another_in_the_retry(
        self, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str, clock: Clock
    ) -> None:
        """P2."""
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra", max_retries=1)

        def answer(request: Any) -> Any:
            from azure_shim.testing import FakeResponse

            clock.ahead_s = service.lifetime_s + 1
            return FakeResponse(429, {"retry-after-ms": "1"}, b"{}")

        azure_openai["eastus"].answer_next(answer)
        chat(colour, client)
        assert sent(azure_openai) == service.tokens
        assert len(service.tokens) == 2

    @pytest.mark.parametrize("lifetime_s", [2, 100, 400])
    def test_short_lives(self, lifetime_s: int, colour: Colour, service: TokenService, endpoint: str) -> None:
        service.lifetime_s = lifetime_s
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        for _ in range(20):
            chat(colour, client)
        assert len(service.requests) == 1

    @pytest.mark.parametrize("skew_s", [-7200, 7200])
    def test_a_clock_that_is_hours_off_asks_no_more_than_it_must(
        self, skew_s: int, colour: Colour, service: TokenService, endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """App Service tells when a token ends by its own clock; by ours it is over when it comes."""
        for name, value in service.environment("app_service").items():
            monkeypatch.setenv(name, value)
        service.clock_skew_s = skew_s
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="managed")
        for _ in range(20):
            chat(colour, client)
        assert len(service.requests) == 1


async def stall_s(work: Any) -> float:
    """The longest time for which the event loop did nothing else while ``work`` ran."""
    worst, done = 0.0, False

    async def tick() -> None:
        nonlocal worst
        while not done:
            start = time.perf_counter()
            await asyncio.sleep(0.002)
            worst = max(worst, time.perf_counter() - start - 0.002)

    ticking = asyncio.create_task(tick())
    try:
        await work
    finally:
        done = True
        await ticking
    return worst


LOOPS = """
import asyncio, sys
import azure.identity, azure_shim

given = azure.identity.EnvironmentCredential(disable_instance_discovery=True)
signing = {"credential": given} if sys.argv[2] == "credential" else {"azure_auth_mode": "entra"}
client = azure_shim.AsyncOpenAI(azure_endpoint=sys.argv[1], **signing)

async def main():
    message = {"role": "user", "content": "hi"}
    await asyncio.gather(*(client.chat.completions.create(model="gpt-4o", messages=[message]) for _ in range(10)))

for _ in range(3):
    asyncio.run(main())
    azure_shim.reset_tokens()
print("well")
"""

AIO_LOOPS = """
import asyncio, sys
import azure.identity.aio, azure_shim

endpoint, authority, tenant, client_id, secret, ca_file = sys.argv[1:]
line = {"authority": authority, "disable_instance_discovery": True, "connection_verify": ca_file}
credential = azure.identity.aio.ClientSecretCredential(tenant, client_id, secret, **line)
client = azure_shim.AsyncOpenAI(azure_endpoint=endpoint, credential=credential)

async def main(number):
    await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    if not number:
        await credential.close()

for number in range(3):
    asyncio.run(main(number))
print("well")
"""

ENDED_LOOP = """
import asyncio, sys
import azure.identity.aio, azure_shim

endpoint, authority, tenant, client_id, secret, ca_file = sys.argv[1:]
line = {"authority": authority, "disable_instance_discovery": True, "connection_verify": ca_file}
credential = azure.identity.aio.ClientSecretCredential(tenant, client_id, secret, **line)
client = azure_shim.AsyncOpenAI(azure_endpoint=endpoint, credential=credential, max_retries=0)

async def main(limit_s):
    call = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    await asyncio.wait_for(call, limit_s)

try:
    asyncio.run(main(0.5))
except asyncio.TimeoutError:
    # aiohttp's session, and so this credential, is of the loop that has ended; what is asked of the slot is not.
    client._client.azure_shim_settings.target.credential.tokens.source.given = (
        azure.identity.aio.ClientSecretCredential(tenant, client_id, secret, **line)
    )
    asyncio.run(main(10))
    print("well")
"""

FORK = """
import os, sys, threading
import azure.identity, azure_shim

def call(client):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])

given = azure.identity.EnvironmentCredential(disable_instance_discovery=True)
clients = [
    azure_shim.OpenAI(azure_endpoint=sys.argv[1], azure_auth_mode="entra"),
    azure_shim.OpenAI(azure_endpoint=sys.argv[1], credential=given),
]
for client in clients:
    call(client)
for client in clients:
    # As it is when another thread is just about to look at the slot.
    client.azure_shim_settings.target.credential.tokens._lock.acquire()
child = os.fork()
if not child:
    for client in clients:
        call(client)  # with the parent's token
    azure_shim.reset_tokens()
    for client in clients:
        call(client)  # with one of its own
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for client in clients:
    client.azure_shim_settings.target.credential.tokens._lock.release()
    call(client)
    client.close()
given.close()
print("well")
"""


def child(code: str, *arguments: str) -> str:
    """What a process prints that runs ``code``, and nothing else that it says matters."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestEventLoops:
    @pytest.mark.parametrize("kind", ["sync", "aio", "settings", "provider"])
    def test_the_loop_goes_on_while_a_credential_takes_half_a_second(
        self, kind: str, service: TokenService, endpoint: str
    ) -> None:
        """P5, B36. The best of three: the machine that runs this has other things to do."""
        service.delay_s = 0.5

        async def main() -> float:
            module = azure.identity.aio if kind == "aio" else azure.identity
            credential = client_secret(service, module)
            arguments: dict[str, Any] = {"credential": credential}
            if kind == "settings":
                arguments = {"azure_auth_mode": "entra"}
            elif kind == "provider":
                provider = azure.identity.get_bearer_token_provider(credential, "https://ai.azure.com/.default")
                arguments = {"azure_ad_token_provider": provider}
            async with azure_shim.AsyncOpenAI(azure_endpoint=endpoint, **arguments) as client:
                worst = await stall_s(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
            closed = credential.close()
            if closed is not None:
                await closed
            return worst

        worst = []
        for _ in range(3):
            azure_shim.reset_tokens()
            worst.append(asyncio.run(main()))
            if worst[-1] < 0.05:
                break
        assert min(worst) < 0.05, worst

    @pytest.mark.parametrize("kind", ["credential", "settings"])
    def test_three_loops_after_each_other_with_one_client(
        self, kind: str, service: TokenService, azure_openai: FakeAzure, endpoint: str
    ) -> None:
        """P23, P24; each loop needs a token of its own here. The sockets of an ended loop are nobody's to close."""
        assert child(LOOPS, endpoint, kind) == "well\n"
        assert len(azure_openai.requests) == 30
        assert len(service.requests) == (1 if kind == "credential" else 3)  # a credential has a cache of its own

    def test_an_aio_credential_serves_later_loops_while_its_token_is_good(
        self, service: TokenService, azure_openai: FakeAzure, endpoint: str
    ) -> None:
        who = (service.authority, service.tenant_id, service.client_id, service.client_secret, service.ca_file)
        assert child(AIO_LOOPS, endpoint, *who) == "well\n"
        assert len(service.requests) == 1
        assert len(azure_openai.requests) == 3

    def test_a_loop_that_ends_while_it_asks_leaves_the_next_one_free_to_ask(
        self, service: TokenService, azure_openai: FakeAzure, endpoint: str
    ) -> None:
        held = service.fail_next("stall")
        who = (service.authority, service.tenant_id, service.client_id, service.client_secret, service.ca_file)
        assert child(ENDED_LOOP, endpoint, *who) == "well\n"
        assert held.reached.is_set()
        assert len(service.requests) == 2
        assert len(azure_openai.requests) == 1

    def test_a_cancelled_call_does_not_take_the_token_away_from_the_others(
        self, service: TokenService, endpoint: str
    ) -> None:
        held = service.fail_next("stall")

        async def main() -> None:
            credential = client_secret(service, azure.identity.aio)
            client = azure_shim.AsyncOpenAI(azure_endpoint=endpoint, credential=credential, max_retries=0)
            async with credential, client:
                first = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
                while not held.reached.is_set():
                    await asyncio.sleep(0.005)
                second = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
                await asyncio.sleep(0)
                first.cancel()
                held.release()
                await second
                with pytest.raises(asyncio.CancelledError):
                    await first

        asyncio.run(main())
        assert len(service.requests) == 1

    @pytest.mark.parametrize("kind", ["settings", "awaited"])
    def test_trio(self, kind: str, service: TokenService, endpoint: str) -> None:
        """B37. azure-identity has no aio credential for trio; a caller's own may be one."""

        class Awaited:
            asked = 0

            async def get_token(self, *scopes: str, **options: Any) -> Any:
                self.asked += 1
                await trio.sleep(0.05)
                return await trio.to_thread.run_sync(ours.get_token, *scopes)

        with azure.identity.EnvironmentCredential(disable_instance_discovery=True) as ours:
            credential = Awaited()
            given: dict[str, Any] = {"credential": credential} if kind == "awaited" else {"azure_auth_mode": "entra"}

            async def main() -> None:
                async with azure_shim.AsyncOpenAI(azure_endpoint=endpoint, **given) as client:

                    async def call() -> None:
                        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

                    async with trio.open_nursery() as nursery:
                        for _ in range(20):
                            nursery.start_soon(call)

            trio.run(main)
        assert len(service.requests) == 1
        assert kind == "settings" or credential.asked == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_has_the_token_and_can_get_its_own(
    service: TokenService, azure_openai: FakeAzure, endpoint: str
) -> None:
    """P56."""
    assert child(FORK, endpoint) == "well\n"
    assert len(azure_openai.requests) == 8
    # In the child, ours is made anew; a caller's own keeps the token that it has.
    assert len(service.requests) == 3


class TestConstruction:
    def test_it_takes_no_time_no_network_and_no_thread(
        self, colour: Colour, service: TokenService, endpoint: str
    ) -> None:
        """P20."""

        class Slow:
            def get_token(self, *scopes: str, **options: Any) -> Any:
                raise AssertionError("nobody wants a token yet")

        colour.client(azure_endpoint=endpoint, credential=Slow())  # what is imported once is not what is measured
        threads, took = threading.active_count(), []
        for _ in range(5):
            start = time.perf_counter()
            colour.client(azure_endpoint=endpoint, credential=Slow())
            colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
            took.append(time.perf_counter() - start)
        assert min(took) < 0.05, took
        assert threading.active_count() == threads
        assert service.requests == []
        assert service.lookups == []

    def test_azure_identity_is_imported_for_the_first_token_and_not_before(
        self, service: TokenService, endpoint: str
    ) -> None:
        code = (
            "import sys, azure_shim\n"
            "client = azure_shim.OpenAI(azure_endpoint=sys.argv[1], azure_auth_mode='entra')\n"
            "print('azure.identity' in sys.modules)\n"
            "client.warm_up()\n"
            "print('azure.identity' in sys.modules)\n"
        )
        assert child(code, endpoint).split() == ["False", "True"]

    def test_warm_up_fetches_the_token_and_opens_the_connection(
        self, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str
    ) -> None:
        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        assert colour.call(client.warm_up) is None
        assert len(service.requests) == 1
        service.fail_next("invalid_client", times=None)
        chat(colour, client)
        first, second = azure_openai.requests
        assert (first.method, first.path.rpartition("/")[2]) == ("GET", "models")
        assert first.connection.number == second.connection.number

    def test_warm_up_says_why_there_is_no_token_and_minds_nothing_that_azure_answers(
        self, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str
    ) -> None:
        import openai

        client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
        azure_openai["eastus"].fail_next("503")
        colour.call(client.warm_up)
        assert len(azure_openai.requests) == 1
        azure_shim.reset_tokens()
        service.fail_next("invalid_client")
        with pytest.raises(openai.AuthenticationError, match="AADSTS7000215"):
            colour.call(client.warm_up)
        azure_openai["eastus"].stop()
        with pytest.raises(openai.APIConnectionError):
            colour.call(client.warm_up)


def test_a_credential_of_ours_is_closed_with_its_last_client(
    colour: Colour, service: TokenService, endpoint: str
) -> None:
    """With a copy and a second client that share it, and again when it was needed anew."""
    arguments: dict[str, Any] = {"azure_endpoint": endpoint, "azure_auth_mode": "entra"}
    first, second = colour.client(**arguments), colour.client(**arguments)
    copy = first.with_options(timeout=30)
    for client in (first, second, copy):
        chat(colour, client)
    source = first.azure_shim_settings.target.credential.tokens.source
    assert source is second.azure_shim_settings.target.credential.tokens.source
    assert len(service.requests) == 1
    made = source._made
    assert made is not None
    colour.close(first)
    assert source._made is made
    colour.close(second)
    assert source._made is None
    # The token outlives it, for code that makes a client for each call; and what is needed is made anew.
    third = colour.client(**arguments)
    chat(colour, third)
    assert len(service.requests) == 1
    azure_shim.reset_tokens()
    chat(colour, third)
    assert len(service.requests) == 2
