"""Copies, pickles, forks, workers and the end of a process, with connections that are open (P55, P56, B18 to B20)."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import os
import pickle
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import trustme

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.cli.pythons import make_python
from tests.conftest import CLEARED, POISON, Colour
from tests.servers import LAST_CHUNK, MESSAGES, ScriptedServer, Seen, answer, chunked, event

ROOT = Path(__file__).parents[2]
SECRET = "secret-of-this-resource-0123456789"
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
# Python 3.12 warns of any fork beside a thread.
STRICT = ("-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning")
# As a program's start costs more than all else, one goes through all of them; the patch comes last, since it stays.
DOSES = ("constructor", "azure class", "config", "http_client", "patch")

# What every program below begins with: `build` makes a client by ``dose``, in the colour that the command line names.
BEGIN = """
import asyncio, gc, logging, os, sys, threading
import openai
import azure_shim

logging.getLogger("asyncio").setLevel(logging.ERROR)  # development mode tells of slow machines too
DOSES = "constructor", "azure class", "config", "http_client", "patch"
url, key, colour = sys.argv[1:4]
arguments = {"azure_endpoint": url, "api_key": key}
call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}

def build(dose, **more):
    is_async = colour == "async"
    if dose == "constructor":
        return (azure_shim.AsyncOpenAI if is_async else azure_shim.OpenAI)(**arguments, **more)
    if dose == "azure class":
        return (azure_shim.AsyncAzureOpenAI if is_async else azure_shim.AzureOpenAI)(**arguments, **more)
    if dose == "config":
        config = {"strategy": {"mode": "fallback"}, "targets": [{"name": name, **arguments} for name in "ab"]}
        return (azure_shim.AsyncOpenAI if is_async else azure_shim.OpenAI)(config=config, **more)
    plain = openai.AsyncOpenAI if is_async else openai.OpenAI
    if dose == "http_client":
        made = (azure_shim.async_http_client if is_async else azure_shim.http_client)(**arguments)
        return plain(api_key="unused", http_client=made, **more)
    azure_shim.patch(**arguments)
    return plain(**more)

def said(answered):
    assert answered.choices[0].message.content, answered
"""


def environ(**more: str) -> dict[str, str]:
    """The environment of a program: nothing of Azure's, and OpenAI's own, which must not leak."""
    cleared = {name: value for name, value in os.environ.items() if name not in (*CLEARED, *POISON)}
    return {**cleared, **POISON, "PYTHONPATH": str(ROOT), **more}


def run(
    program: str | Path, *words: str, flags: tuple[str, ...] = STRICT, executable: str = sys.executable, **more: str
) -> tuple[int, str, str]:
    """What comes of a program: its exit code, and all that it wrote."""
    source = ["-c", program] if isinstance(program, str) else [str(program)]
    done = subprocess.run(
        [executable, *flags, *source, *words],
        env=environ(**more),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": ["gpt-4o"]}) as found:
        yield found
        assert found.leaks == []


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


def numbers(azure: FakeAzure) -> list[int]:
    """Over which connection each request came."""
    assert [request.refused for request in azure.requests] == [None] * len(azure.requests)
    return [request.connection.number for request in azure.requests]


# -- copies and pickles


def at(resource: Resource) -> dict[str, Any]:
    return {"azure_endpoint": resource.endpoint, "api_key": resource.api_key}


def several(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback"}, "targets": [{"name": name, **arguments} for name in "ab"]}


@pytest.fixture
def clients(colour: Colour) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """One client of each kind; those of the patch were built by it."""

    def build(arguments: dict[str, Any]) -> dict[str, Any]:
        ours = azure_shim.AsyncAzureOpenAI if colour.is_async else azure_shim.AzureOpenAI
        found = {
            "constructor": colour.client(**arguments),
            "azure class": ours(**arguments),
            "config": colour.client(config=several(arguments)),
        }
        azure_shim.patch(**arguments)
        found["patched"] = colour.plain()
        found["patched with a key"] = colour.plain(api_key="sk-of-the-program")
        azure_shim.unpatch()
        azure_shim.patch(config=several(arguments))
        found["patched with a config"] = colour.plain()
        colour._made.extend(found[name] for name in found if name not in ("constructor", "config"))
        return found

    yield build
    azure_shim.unpatch()


def works(colour: Colour, client: Any) -> None:
    answered = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert answered.choices[0].message.content == "Hello from eastus/gpt-4o: hi"


@dataclasses.dataclass
class Job:
    name: str
    client: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    client: Any


def nested_of(client: Any) -> list[Any]:
    """The client in copies of what holds it: containers, dataclasses, models, and the client alone."""
    job = Job("job", {"clients": [client]})
    return [
        copy.deepcopy(client),
        copy.deepcopy({"clients": [client]})["clients"][0],
        dataclasses.asdict(job)["client"]["clients"][0],
        copy.deepcopy(job).client["clients"][0],
        Model(client=client).model_copy(deep=True).client,
        copy.deepcopy(Model(client=[client])).client[0],
    ]


def test_what_holds_a_client_is_copied_and_shares_it(
    clients: Any, colour: Colour, azure: FakeAzure, east: Resource
) -> None:
    for client in clients(at(east)).values():
        for found in nested_of(client):
            assert found is client
        works(colour, client)


def test_a_copy_of_an_http_client_is_the_client(colour: Colour, library: Any, east: Resource) -> None:
    for arguments in (at(east), {"config": several(at(east))}):
        made = colour.http_client(library=library.__name__, **arguments)
        plain = colour.plain(api_key="sk-of-nobody", http_client=made)
        for found in nested_of(made):
            assert found is made
        for found in nested_of(plain):
            works(colour, found)
        works(colour, plain)


def test_a_shallow_copy_shares_connections(clients: Any, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    for name, client in clients(at(east)).items():
        works(colour, client)
        copied = copy.copy(client)
        assert type(copied) is type(client)
        works(colour, copied)
        before, after = numbers(azure)[-2:]
        assert before == after, name


def test_a_copy_that_is_dropped_closes_nothing(clients: Any, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    """Neither collected nor unpatched meanwhile: a copy is no owner."""
    for name, client in clients(at(east)).items():
        works(colour, client)
        if "patched" in name:
            azure_shim.unpatch()
        found = [copy.copy(client), *nested_of(client)]
        del found
        gc.collect()
        works(colour, client)
        before, after = numbers(azure)[-2:]
        assert before == after, name


@pytest.mark.parametrize("is_patched", [False, True])
def test_a_client_cannot_be_pickled(is_patched: bool, clients: Any, colour: Colour, library: Any) -> None:
    arguments = {"azure_endpoint": "https://r.openai.azure.com", "api_key": SECRET}
    made = colour.http_client(library=library.__name__, **arguments)
    found = {**clients(arguments), "http": made, "over http": colour.plain(api_key="x", http_client=made)}
    if not is_patched:
        azure_shim.unpatch()
    for client in found.values():
        for each in (client, Job("job", client), [client]):
            with pytest.raises(TypeError, match="pickle what it was built from") as caught:
                pickle.dumps(each)
            assert SECRET not in str(caught.value)
    gc.collect()


def test_a_config_is_pickled_with_its_secrets_by_reference(
    colour: Colour, azure: FakeAzure, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"env": "KEY_OF_THE_RESOURCE"}
    target = azure_shim.AzureTarget(name="east", azure_endpoint=east.endpoint, api_key=key)
    second = azure_shim.AzureTarget(name="second", azure_endpoint=east.endpoint, api_key=key, weight=2)
    openais = azure_shim.OpenAITarget(api_key={"env": "KEY_OF_OPENAI"})
    configs: list[Any] = [
        azure_shim.LoadBalance([target, second], deployments={"gpt-4o": "gpt-4o"}),
        azure_shim.Fallback([target, openais], attempts=2),
        {"strategy": {"mode": "single"}, "targets": [{"name": "a", "azure_endpoint": east.endpoint, "api_key": key}]},
    ]
    monkeypatch.setenv("KEY_OF_THE_RESOURCE", east.api_key)
    monkeypatch.setenv("KEY_OF_OPENAI", "sk-of-the-program")
    for config in configs:
        dumped = pickle.dumps(config)
        assert east.api_key.encode() not in dumped
        loaded = pickle.loads(dumped)
        assert type(loaded) is type(config)
        assert repr(loaded) == repr(config)
        works(colour, colour.client(config=loaded))
        works(colour, colour.client(config=copy.deepcopy(config)))


def test_errors_of_ours_cross_processes(east: Resource) -> None:
    with pytest.raises(azure_shim.ConfigurationError) as caught:
        azure_shim.OpenAI(azure_endpoint="", api_version="2024-10-21", unmapped_models="nonsense")
    for found in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert type(found) is type(caught.value)
        assert isinstance(found, (azure_shim.ConfigurationError, openai.OpenAIError))
        assert (str(found), found.problems) == (str(caught.value), caught.value.problems)


# -- a fork


def tls_at(folder: Path) -> ssl.SSLContext:
    """The context of a server, whose authority's certificate is put into ``folder``."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return context


def trusted(folder: Path) -> dict[str, str]:
    """The environment that believes that authority, if there is one."""
    path = folder / "authority.pem"
    return {"SSL_CERT_FILE": str(path)} if path.exists() else {}


FORKED = (
    BEGIN
    + """
loop = None

def ask(client):
    answer = client.chat.completions.create(**call)
    said(answer if colour == "sync" else loop.run_until_complete(answer))

def close(client):
    client.close() if colour == "sync" else loop.run_until_complete(client.close())

for dose in DOSES:
    if colour == "async":
        loop = asyncio.new_event_loop()
    client = build(dose, max_retries=0)
    ask(client)
    child = os.fork()
    if not child:
        if colour == "async":
            loop = asyncio.new_event_loop()  # the parent's is the parent's
        ask(client)
        ask(client)
        gc.collect()
        if colour == "sync":
            sys.exit(0)
        close(client)
        sys.stderr.flush()
        os._exit(0)  # as multiprocessing ends its children: of the parent's loop nobody has to be warned
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, dose
    ask(client)
    close(client)
    if colour == "async":
        loop.close()
"""
)


@NEEDS_FORK
@pytest.mark.parametrize("name", ["sync", "async"])
@pytest.mark.parametrize("is_tls", [False, True])
def test_parent_and_child_go_on_by_connections_of_their_own(name: str, is_tls: bool, tmp_path: Path) -> None:
    with FakeAzure({"eastus": ["gpt-4o"]}, tls=tls_at(tmp_path) if is_tls else None) as azure:
        east = azure["eastus"]
        done = run(FORKED, east.endpoint, east.api_key, name, **trusted(tmp_path))
        assert done == (0, "", "")
        found = numbers(azure)
        assert azure.leaks == []
    assert len(found) == 4 * len(DOSES)
    for dose, (first, second, third, fourth) in zip(DOSES, zip(*[iter(found)] * 4, strict=True), strict=True):
        assert second == third, dose
        assert first == fourth, dose
        assert first != second, dose


STREAMING = (
    BEGIN
    + """
for dose in DOSES:
    client = build(dose, max_retries=0)
    stream = client.chat.completions.create(stream=True, **call)
    chunks = iter(stream)
    read = [next(chunks).choices[0].delta.content]
    child = os.fork()
    if not child:
        said(client.chat.completions.create(**call))
        if sys.argv[4] == "closes":
            stream.close()
            client.close()
        del stream, chunks
        gc.collect()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, dose
    said(client.chat.completions.create(user="release", **call))
    read += [chunk.choices[0].delta.content for chunk in chunks]
    assert read == ["one", "two", "three"], (dose, read)
    client.close()
"""
)


@NEEDS_FORK
@pytest.mark.parametrize(("how", "is_tls"), [("drops", False), ("closes", True)])
def test_a_child_leaves_a_stream_of_its_parent_alone(how: str, is_tls: bool, tmp_path: Path) -> None:
    """Whatever the child does with what it has inherited, and however it ends."""
    released = threading.Semaphore(0)

    def script(seen: Seen) -> Iterator[bytes]:
        if not seen.json().get("stream"):
            if "user" in seen.json():
                released.release()
            yield answer()
            return
        yield chunked() + event("one")
        assert released.acquire(timeout=20)
        yield event("two") + event("three")
        yield LAST_CHUNK

    with ScriptedServer(script, tls=tls_at(tmp_path) if is_tls else None) as server:
        assert run(STREAMING, server.url, "k", "sync", how, **trusted(tmp_path)) == (0, "", "")
        assert len(server.requests) == 3 * len(DOSES)
        assert server.connections == 3 * len(DOSES)


LOCKED = (
    BEGIN
    + """
import faulthandler, importlib, pkgutil

LOCKS = (type(threading.Lock()), type(threading.RLock()))

def locks():
    # Of every object, class and module of azure_shim's.
    found = {}
    for each in [*gc.get_objects(), *(m for n, m in list(sys.modules.items()) if n.startswith("azure_shim"))]:
        kind = each if isinstance(each, type) else type(each)
        module = getattr(each, "__name__", "") if kind.__name__ == "module" else kind.__module__
        if not str(module).startswith("azure_shim") or str(module).startswith("azure_shim.testing"):
            continue
        names = [*getattr(each, "__dict__", ())]
        names += [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
        for name in names:
            value = getattr(each, name, None)
            if isinstance(value, LOCKS):
                found[id(value)] = (f"{module}.{kind.__name__}.{name}", value)
    return [*found.values()]

if sys.argv[4] == "tokens":
    from time import time
    from azure.core.credentials import AccessToken

    class Credential:
        def get_token(self, *scopes, **more):
            return AccessToken(key, int(time()) + 3600)

    arguments = {"azure_endpoint": url, "credential": Credential()}

clients = {dose: build(dose, max_retries=0) for dose in DOSES}
for client in clients.values():
    said(client.chat.completions.create(**call))
held, done = threading.Event(), threading.Event()
names = []

def hold():
    for name, lock in locks():
        if lock.acquire(timeout=5):
            names.append((name, lock))
    held.set()
    done.wait(60)
    for _, lock in reversed(names):
        lock.release()

other = threading.Thread(target=hold)
other.start()
assert held.wait(30)
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(15, exit=True)
    for dose, client in clients.items():
        said(client.chat.completions.create(**call))
        said(client.with_options(timeout=20).chat.completions.create(**call))
        [*client.chat.completions.create(stream=True, **call)]
        another = build(dose, max_retries=0)
        said(another.chat.completions.create(**call))
        getattr(another, "health", list)()
        another.close()
        client.close()
    azure_shim.unpatch()
    faulthandler.cancel_dump_traceback_later()
    sys.stderr.flush()
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
done.set()
other.join()
assert code == 0, (code, sorted({name for name, _ in names}))
for client in clients.values():
    said(client.chat.completions.create(**call))
    client.close()
print(*sorted({name for name, _ in names}))
"""
)


@NEEDS_FORK
@pytest.mark.parametrize("credential", ["key", "tokens"])
def test_a_lock_that_another_thread_holds_at_the_fork_stops_no_child(
    credential: str, azure: FakeAzure, east: Resource
) -> None:
    """The thread that holds it is not in the child, where nobody would ever let it go: here every lock that we have."""
    key = azure.token if credential == "tokens" else east.api_key
    code, out, err = run(LOCKED, east.endpoint, key, "sync", credential)
    assert (code, err) == (0, "")
    assert "azure_shim.transport.pool.module._lock" in out.split()


# -- the end of a process

ENDED = (
    BEGIN
    + """
how = sys.argv[4]
kept = []

async def work(client):
    said(await client.chat.completions.create(**call))
    for _ in range(closings):
        await client.close()

closings = {"closed": 1, "closed twice": 2}.get(how, 0)
for dose in DOSES:
    client = build(dose)
    if colour == "sync":
        said(client.chat.completions.create(**call))
        if how == "in a stream":
            stream = client.chat.completions.create(stream=True, **call)
            kept.append((stream, next(iter(stream))))
        for _ in range(closings):
            client.close()
    else:
        asyncio.run(work(client))
        if how == "in two loops":
            asyncio.run(work(client))
    if how == "in a cycle":
        client.cycle = client
    if how != "dropped":
        kept.append(client)
    del client
    gc.collect()
"""
)
HOWS = ["never closed", "closed", "closed twice", "dropped", "in a cycle"]


@pytest.mark.parametrize("how", [*HOWS, "in a stream"])
def test_a_process_with_a_client_ends_without_a_word(how: str, azure: FakeAzure, east: Resource) -> None:
    assert run(ENDED, east.endpoint, east.api_key, "sync", how) == (0, "", "")


@pytest.mark.parametrize("how", [*HOWS, "in two loops"])
def test_a_process_with_an_async_client_does(how: str, azure: FakeAzure, east: Resource) -> None:
    """In development mode asyncio warns of a transport that its program has never closed, with openai's own too."""
    flags = STRICT if how.startswith("closed") else ("-W", "default", "-W", "ignore::ResourceWarning")
    assert run(ENDED, east.endpoint, east.api_key, "async", how, flags=flags) == (0, "", "")


# -- workers

WORKERS = """
import concurrent.futures, json, multiprocessing, os, sys
import openai
import azure_shim

CALL = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
client = None

def begin(config):
    global client
    client = azure_shim.OpenAI(config=config, max_retries=0)

def ask(n):
    return client.chat.completions.create(**CALL).choices[0].message.content, os.getpid()

def fail(n):
    azure_shim.OpenAI(azure_endpoint="", unmapped_models="nonsense")

def refuse(n):
    client.chat.completions.create(**{**CALL, "model": "nobody"})

def inherited(n):
    return sorted({str(openai.OpenAI().base_url), str(openai.AsyncOpenAI().base_url)})

def main(method, kind, target):
    key = {"env": "KEY_OF_THE_RESOURCE"}
    config = azure_shim.Fallback([
        azure_shim.AzureTarget(name=name, azure_endpoint=target, api_key=key) for name in "ab"
    ])
    context = multiprocessing.get_context(method)
    begin(config)  # in the parent too: a fork inherits its connections
    own = ask(0)
    assert own[1] == os.getpid()
    if kind == "pool":
        with context.Pool(2, begin, (config,)) as pool:
            answered = pool.map(ask, range(6), chunksize=1)
            try:
                pool.apply(fail, (0,))
            except azure_shim.ConfigurationError as error:
                problems = error.problems
            pool.close()
            pool.join()
    else:
        with concurrent.futures.ProcessPoolExecutor(2, context, begin, (config,)) as pool:
            answered = list(pool.map(ask, range(6)))
            try:
                pool.submit(fail, 0).result()
            except azure_shim.ConfigurationError as error:
                problems = error.problems
    assert problems
    assert {text for text, _ in answered} == {"Hello from eastus/gpt-4o: hi"}, answered
    assert os.getpid() not in {pid for _, pid in answered}
    ask(0)
    client.close()
    print(json.dumps(sorted({pid for _, pid in answered})))

def patched(method, target):
    azure_shim.patch(azure_endpoint=target, api_key=os.environ["KEY_OF_THE_RESOURCE"])
    with multiprocessing.get_context(method).Pool(1) as pool:
        print(json.dumps(pool.apply(inherited, (0,))))
        pool.close()
        pool.join()

if __name__ == "__main__":
    if sys.argv[1] == "inherited":
        with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
            print(json.dumps(pool.apply(inherited, (0,))))
            pool.close()
            pool.join()
    elif sys.argv[1] == "patched":
        patched(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
"""
METHODS = [
    pytest.param("fork", marks=NEEDS_FORK),
    pytest.param("forkserver", marks=NEEDS_FORK),
    "spawn",
]


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    """A program in a file, which the children of ``spawn`` import again."""
    path = tmp_path / "workers.py"
    path.write_text(WORKERS, encoding="utf-8")
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_workers_build_clients_of_a_pickled_config(
    method: str, kind: str, workers: Path, azure: FakeAzure, east: Resource
) -> None:
    code, out, err = run(workers, method, kind, east.endpoint, KEY_OF_THE_RESOURCE=east.api_key)
    assert (code, err) == (0, "")
    assert len(json.loads(out)) in (1, 2)
    first, *between, last = numbers(azure)
    assert not {first, last} & {*between}
    assert len(between) == 6


@NEEDS_FORK
@pytest.mark.parametrize("method", ["fork"])
def test_a_forked_child_is_patched_as_its_parent(method: str, workers: Path, east: Resource) -> None:
    code, out, err = run(workers, "patched", method, east.endpoint, KEY_OF_THE_RESOURCE=east.api_key)
    assert (code, err) == (0, "")
    assert json.loads(out) == [f"{east.endpoint}/openai/v1/"]


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_child_with_a_python_of_its_own_has_no_patch(method: str, workers: Path, east: Resource) -> None:
    """What `patch` did in its parent is not in it: it needs a patch of its own, or ``AZURE_SHIM_AUTOPATCH``."""
    code, out, err = run(workers, "patched", method, east.endpoint, KEY_OF_THE_RESOURCE=east.api_key)
    assert (code, err) == (0, "")
    assert json.loads(out) == ["https://api.openai.com/v1/"]


@pytest.mark.parametrize("method", METHODS)
def test_every_child_is_patched_by_the_environment(method: str, workers: Path, tmp_path: Path, east: Resource) -> None:
    python = make_python(tmp_path / "venv", is_installed=True)
    settings = {"AZURE_OPENAI_ENDPOINT": east.endpoint, "AZURE_OPENAI_API_KEY": east.api_key}
    more = {**settings, "AZURE_SHIM_AUTOPATCH": "1"}
    code, out, err = run(workers, "inherited", method, executable=python.executable, **more)
    assert (code, err) == (0, "")
    assert json.loads(out) == [f"{east.endpoint}/openai/v1/"]
