"""Which patch is in force where: one for the process, and one for a context, which comes first."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from azure_shim.errors import AsyncCredentialError, ConfigurationError

if TYPE_CHECKING:
    from azure_shim.config.settings import Settings

__all__ = ["KEY_VARIABLE", "Patch", "current", "scoped", "set_process"]


class Patch:
    """What one `azure_shim.patch` or `azure_shim.patched` asks for.

    ``arguments`` are Azure's, as for `azure_shim.OpenAI`. With ``is_late`` they are read when the first client is
    built; ``problem`` is why no client can be.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        legacy: bool = False,
        include_azure: bool = False,
        is_late: bool = False,
        problem: str | None = None,
    ) -> None:
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        self.of_legacy = {name: self.arguments.pop(name) for name in _OF_LEGACY if legacy and name in self.arguments}
        """What 0.x's calls have besides: they build no clients of their own that could be told so."""
        self.legacy, self.include_azure, self.problem = legacy, include_azure, problem
        self.before: Patch | None = None
        """The patch of the context that this one was begun in, for the time after its end."""
        self.is_over = False
        self.module_clients: dict[str, Any] = {}
        """What ``openai.chat.completions.create`` and its like use while this patch is in force: by the api_type."""
        self._settings: dict[bool, Settings] = {}
        self._headers: Mapping[str, str] = self.arguments.pop("default_headers", None) or {}
        if self.arguments:
            _check(self.arguments)
        # Code that does not know of Azure does not expect its oddities either.
        self.arguments.setdefault("drop_empty_choice_chunks", True)
        if not is_late and problem is None:
            try:
                self.settings(is_async=False)
            except AsyncCredentialError:  # for clients that await
                self.settings(is_async=True)

    def settings(self, *, is_async: bool) -> Settings:
        """The settings of a client of this colour.

        Raises:
            ConfigurationError: there can be none; the same as for `azure_shim.OpenAI`.
        """
        if self.problem is not None:
            raise ConfigurationError([self.problem])
        found = self._settings.get(is_async)
        if found is None:
            from azure_shim.config.settings import read_settings  # not while Python starts: it is much

            read = read_settings(self.arguments, is_async=is_async).with_headers(self._headers)
            found = self._settings.setdefault(is_async, read)  # no lock: it may read a file
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Patch:
        return self

    def __repr__(self) -> str:
        return f"<Patch with {', '.join(sorted(self.arguments)) or 'the environment'}>"


_OF_LEGACY = ("http_client", "max_retries", "timeout")


def _check(names: Iterable[str]) -> None:
    import difflib

    from azure_shim.config.settings import CLIENT_ARGUMENTS

    known, problems = (*CLIENT_ARGUMENTS, "legacy", "include_azure", "default_headers"), []
    for name in names:
        if name in _OF_LEGACY:
            problems.append(f"{name}: goes with legacy=True only; each client is told its own when it is built")
        elif name not in CLIENT_ARGUMENTS:
            near = difflib.get_close_matches(name, known, 1)
            problems.append(f"{name}: no such argument{f'; did you mean {near[0]}?' if near else ''}")
    if problems:
        raise ConfigurationError(problems)


KEY_VARIABLE = "OPENAI_API_KEY"

_process: list[Patch] = []
scoped: contextvars.ContextVar[Patch | None] = contextvars.ContextVar("azure_shim_patch", default=None)
"""The patch of this context, set by `azure_shim.patched`."""


def current() -> Patch | None:
    """The patch that is in force here; None for none."""
    own = scoped.get()
    if own is not None:
        return own
    try:
        return _process[0]
    except IndexError:
        return None


def set_process(patch: Patch | None) -> Patch | None:
    """Put ``patch`` in force for the whole process, in the place of the one that is returned."""
    before = _process[0] if _process else None
    _process[:] = [] if patch is None else [patch]
    return before
