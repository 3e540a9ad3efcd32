"""`patch`, `unpatch` and `patched`: code that builds its own ``openai`` clients runs on Azure OpenAI, unchanged."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from azure_shim import errors
from azure_shim.patching.places import Places
from azure_shim.patching.state import KEY_VARIABLE, Patch, current, scoped, set_process
from azure_shim.values import STAND_IN

__all__ = ["patch", "patch_late", "patched", "refuse", "unpatch"]


def patch(*, legacy: bool = False, include_azure: bool = False, **settings: Any) -> None:
    """Let every ``openai.OpenAI`` and ``AsyncOpenAI`` that is built from now on, by anyone, go to Azure OpenAI.

    The classes are changed in place: an early ``from openai import OpenAI``, subclasses, ``openai.Client`` and the
    module-level ``openai.chat.completions.create`` are met as well, their WebSockets too. Clients that are aimed at
    another service (``base_url``, ``OPENAI_BASE_URL``, a provider) are left alone, and so are those that exist already
    (see `wrap`). ``openai`` may be imported later. A second call replaces the settings of the first.

    Where code demands ``OPENAI_API_KEY``, it finds a placeholder until `unpatch`, unless there is one. A forked child
    is patched; one that is spawned needs a patch of its own, or ``AZURE_SHIM_AUTOPATCH=1`` in the environment.

    Args:
        legacy: whether code written for openai 0.x (``openai.ChatCompletion.create``, ``openai.error``, ``engine=``)
            runs too. Its calls are made with the ``max_retries`` (0 unless it is given), ``timeout`` and
            ``http_client`` (one that blocks or one that awaits, for the calls of its kind) that are given here.
        include_azure: whether ``openai.AzureOpenAI`` clients go to these settings as well, whatever theirs say.
        settings: Azure's arguments of `azure_shim.OpenAI` (``azure_endpoint``, ``api_key``, ``deployments``,
            ``config``, ``default_headers``, ...); what is not given comes from the environment, as there.
            ``drop_empty_choice_chunks`` is on unless it is said to be off.

    Raises:
        ConfigurationError: the settings cannot work.
    """
    _put_in_force(_checked(lambda: Patch(settings, legacy=legacy, include_azure=include_azure)))


def patch_late(*, legacy: bool = False) -> None:
    """As `patch`, with the environment read only when the first client is built, which is where errors are raised."""
    _put_in_force(Patch({}, legacy=legacy, is_late=True))


def refuse(problem: str) -> None:
    """Let no client be built that would go to OpenAI: each raises a ConfigurationError that says ``problem``."""
    _put_in_force(Patch({}, problem=problem))


def unpatch() -> None:
    """Undo `patch`: the attributes of ``openai`` are what they were. Nothing, if there is no patch.

    What others have put around ours stays, and ours does nothing from now on. Clients that were built meanwhile go on
    sending to Azure; but with other connections that they are given from now on (``http_client``) they are not signed.
    """
    with _lock:
        set_process(None)
        _let_go()


@contextmanager
def patched(*, legacy: bool = False, include_azure: bool = False, **settings: Any) -> Iterator[None]:
    """As `patch`, for the clients that are built in this context (PEP 567): other tasks and threads are not affected.

    The clients go to Azure for good, also after the end (but see `unpatch`). A task that is started inside, and
    ``asyncio.to_thread``, have the same context; a plain thread has its own, and so no patch, unless it is run in a
    copy of this one (``contextvars.copy_context().run``).

    Args:
        legacy: as for `patch`; meanwhile ``openai.ChatCompletion`` and its like are there for all contexts, and an
            error outside of this one.
        include_azure: as for `patch`.
        settings: as for `patch`.

    Raises:
        ConfigurationError: the settings cannot work.
    """
    own = _checked(lambda: Patch(settings, legacy=legacy, include_azure=include_azure))
    # A task that was started inside may outlive the end, and still has the context: the changes stay as long as any.
    weakref.finalize(own, _changes.release, _changes.need(legacy=legacy)).atexit = False
    own.before = scoped.get()
    scoped.set(own)
    try:
        yield
    finally:
        own.is_over = True
        # A generator may be ended in another context than it was begun in, and two may end in any order.
        if scoped.get() is own:
            follows = own.before
            while follows is not None and follows.is_over:
                follows = follows.before
            scoped.set(follows)


_lock = threading.RLock()
_needs: list[object] = []  # of the patch of the process, if there is one


def _put_in_force(new: Patch) -> None:
    with _lock:
        need = _changes.need(legacy=new.legacy)
        set_process(new)
        _let_go()
        _needs.append(need)


def _let_go() -> None:
    while _needs:
        _changes.release(_needs.pop())


def _checked(make: Callable[[], Patch]) -> Patch:
    """``make()``, with its ConfigurationError as an ``openai.OpenAIError`` too, if there is an openai already."""
    try:
        return make()
    except errors.ConfigurationError as error:
        if "openai" not in sys.modules:
            raise
        from azure_shim.http import ConfigurationError

        raise ConfigurationError(error.problems) from None


class _Ahead:
    """A finder that has ``then`` called with openai whenever it has been imported.

    It imports nothing: Python holds a lock of all imports while it asks finders, and a program may want to replace ssl,
    which wrapt imports, before anybody has it (gevent).
    """

    def __init__(self, then: Callable[[Any], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "openai":
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    loader: Any = _Loading(spec.loader, self._then)
                    spec.loader = loader
                return spec
        return None


class _Loading:
    """The loader of one import, which takes itself out again when the module is there."""

    def __init__(self, loader: Any, then: Callable[[Any], None]) -> None:
        self._loader, self._then = loader, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module)


_takers: list[Callable[[Places], None]] = []


class _Changes:
    """What is changed in the process for as long as any patch needs it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users: dict[object, bool] = {}  # and whether each is for 0.x too
        self._places = Places()
        self._is_hooked = False
        self._key_before: list[str | None] = []  # OPENAI_API_KEY, while our own stands there
        self._undo_legacy: list[Callable[[], None]] = []

    def renew_lock(self) -> None:
        """For a child process."""
        self._lock = threading.RLock()

    def need(self, *, legacy: bool) -> object:
        """Change what a patch needs, now or as soon as openai is imported, until `release` is called for it."""
        user = object()
        if "openai" in sys.modules:
            # Before the lock is taken: another thread may be importing it, whose hook wants the lock.
            importlib.import_module("openai")
            _load(legacy=legacy)
        with self._lock:
            self._users[user] = legacy
            # 0.x needs no key to begin with, and its programs keep Azure's there, often in a file that is read later.
            if not legacy and not os.environ.get(KEY_VARIABLE):
                self._key_before = [os.environ.get(KEY_VARIABLE)]
                os.environ[KEY_VARIABLE] = STAND_IN
            if not self._is_hooked:
                self._is_hooked = True
                sys.meta_path.insert(0, _Ahead(self._imported))
            if hasattr(sys.modules.get("openai"), "AsyncOpenAI"):
                self._change()
        return user

    def release(self, user: object) -> None:
        """Put back what nobody needs any more."""
        clients = sys.modules.get("azure_shim.patching.clients")
        try:
            if clients is not None and len(self._users) == 1:
                clients.leave_resources()  # not with the lock held: it imports
        finally:
            self._release(user)

    def _release(self, user: object) -> None:
        with self._lock:
            del self._users[user]
            if self._undo_legacy and not any(self._users.values()):
                self._leave_legacy()
            if self._users:
                return
            self._places.leave()
            if self._key_before and os.environ.get(KEY_VARIABLE) == STAND_IN:
                if self._key_before[0] is None:
                    del os.environ[KEY_VARIABLE]
                else:
                    os.environ[KEY_VARIABLE] = self._key_before[0]
            self._key_before = []
            module_client = sys.modules.get("azure_shim.patching.module_client")
            if module_client is not None:
                module_client.forget()

    def _imported(self, _module: Any) -> None:
        with self._lock:
            legacy = any(self._users.values())
            if not self._users:
                return
        _load(legacy=legacy)
        with self._lock:
            if self._users:
                self._change()

    def _change(self) -> None:
        for take in _takers:
            take(self._places)
        if not self._undo_legacy and any(self._users.values()):
            self._take_legacy()

    def _take_legacy(self) -> None:
        import openai

        from azure_shim.client import AsyncOpenAI, OpenAI
        from azure_shim.patching import legacy
        from azure_shim.patching.seats import is_routed

        def takes_engine(client: Any) -> bool:
            return is_routed(client) or isinstance(client, (OpenAI, AsyncOpenAI))

        self._undo_legacy = [legacy.install(openai, _legacy_arguments), legacy.accept_engine(takes_engine)]

    def _leave_legacy(self) -> None:
        while self._undo_legacy:
            self._undo_legacy.pop()()


def _load(*, legacy: bool) -> None:
    """Import what changes openai, which it imports; never while our lock is held.

    Raises:
        RuntimeError: there is another openai now than the one that this package was imported with.
    """
    clients = importlib.import_module("azure_shim.patching.clients")
    module_client = importlib.import_module("azure_shim.patching.module_client")
    _takers[:] = [clients.take_classes, module_client.take_module]
    if legacy:
        importlib.import_module("azure_shim.patching.legacy")
    if clients.openai is not sys.modules.get("openai"):
        raise RuntimeError(
            "openai was imported anew, and azure_shim knows the one before, so that its patch would have no effect: "
            "import azure_shim anew as well (take 'azure_shim' and all below it out of sys.modules)"
        )


def _legacy_arguments() -> dict[str, Any] | None:
    own = current()
    return {**own.arguments, **own.of_legacy} if own is not None and own.legacy else None


_changes = _Changes()


def _renew_locks() -> None:
    global _lock
    _lock = threading.RLock()
    _changes.renew_lock()


if hasattr(os, "register_at_fork"):  # what another thread of the parent holds is never released in the child
    os.register_at_fork(after_in_child=_renew_locks)
