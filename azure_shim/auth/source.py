"""Where tokens come from: a caller's credential or one of our own making, asked for one scope in one tenant."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import threading
import time
from collections.abc import Generator
from typing import Any, NamedTuple, NoReturn

from azure_shim.auth.identities import Identity, authority_of, is_awaited, secrets_of
from azure_shim.auth.secrets import fault_of, scrubbed, text_of
from azure_shim.clouds import CLOUDS

__all__ = ["AwaitedInstead", "Granted", "TokenSource"]


# How azure-identity words a success that has no token in it.
_NO_ANSWER = re.compile(r"No response content|Unexpected response from Microsoft Entra|Authentication failed: None$")


class Granted(NamedTuple):
    """What a credential gave; the times are Unix times in seconds.

    ``instead`` is why it gave the token that was refused, and no other.
    """

    token: str
    expires_on: float
    refresh_on: float | None = None
    instead: Exception | None = None

    def __repr__(self) -> str:
        return f"Granted(expires_on={self.expires_on}, refresh_on={self.refresh_on})"


class AwaitedInstead(Exception):  # noqa: N818  not an error: the credential is asked in an event loop instead
    """A credential that was taken for one that blocks returned an awaitable."""


class TokenSource:
    """A credential, and the scope and tenant that it is asked for. Equal ones are interchangeable.

    Args:
        scope: such as ``https://cognitiveservices.azure.com/.default``.
        given: a caller's credential, which is never closed.
        identity: what a credential of our own is made of, when it is first needed.
        tenant_id: for a credential that serves several.
        machine: whose identity it is, for a credential that is made of what it finds (`machine_of`).
    """

    def __init__(
        self,
        scope: str,
        *,
        given: Any = None,
        identity: Identity | None = None,
        tenant_id: str | None = None,
        machine: int = 0,
    ) -> None:
        self.scope, self.given, self.identity, self.tenant_id = scope, given, identity, tenant_id
        self._machine = machine
        self.is_awaited = given is not None and is_awaited(given)
        self._announces_cae = False
        self.after_fork()

    def after_fork(self) -> None:
        """The connections of a credential of ours are the parent's: the child makes its own."""
        self._lock = threading.Lock()
        self._made: Any = None

    def _key(self) -> tuple[Any, ...]:
        given = id(self.given) if self.given is not None else None
        return self.scope, self.tenant_id, given, self.identity, self._machine

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenSource) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<TokenSource {self.name} for {self.scope}>"

    @property
    def name(self) -> str:
        """The class of the credential."""
        return self.identity.kind if self.identity is not None else type(self.given).__name__

    def _credential(self) -> Any:
        if self.given is not None:
            return self.given
        with self._lock:
            made = self._made
        if made is None:
            assert self.identity is not None
            made = self.identity.credential()  # imports azure.identity, and so is done outside the lock
            with self._lock:
                self._made = made
        return made

    def close(self) -> None:
        """Close a credential of ours; a caller's is the caller's."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and hasattr(made, "close"):
            made.close()

    def forget(self) -> None:
        """Make a credential of ours anew, and treat a caller's as if it had never been challenged."""
        self._announces_cae = False
        self.close()

    def ask(self, refused: str | None, claims: str | None) -> Granted:
        """A token, which is another than ``refused`` if the credential can give another.

        Raises:
            whatever the credential raises.
            ValueError: what it returned is no token.
            AwaitedInstead: it has to be asked by `ask_async`, which ``is_awaited`` says from now on.
        """
        plan = self._plan(refused, claims)
        try:
            options = next(plan)
            while True:
                try:
                    answer = _request(self._credential(), self.scope, options)
                except Exception as error:  # noqa: BLE001  the plan says whether it matters
                    answer = error
                if inspect.isawaitable(answer):
                    self._turns_out_to_be_awaited(answer)
                options = plan.send(answer)
        except StopIteration as stop:
            granted: Granted = stop.value
            return granted

    async def ask_async(self, refused: str | None, claims: str | None) -> Granted:
        """As `ask`, of a credential that is awaited."""
        plan = self._plan(refused, claims)
        try:
            options = next(plan)
            while True:
                try:
                    answer = await _request(self.given, self.scope, options)
                except Exception as error:  # noqa: BLE001  the plan says whether it matters
                    answer = error
                options = plan.send(answer)
        except StopIteration as stop:
            granted: Granted = stop.value
            return granted

    def _turns_out_to_be_awaited(self, answer: Any) -> NoReturn:
        """A wrapper of an aio credential need not look like one."""
        self.is_awaited = True
        if inspect.iscoroutine(answer):
            answer.close()
        raise AwaitedInstead

    def _plan(self, refused: str | None, claims: str | None) -> Generator[dict[str, Any], Any, Granted]:
        """What to ask the credential, one after the other; it is sent what came of each."""
        if refused is not None:
            self.close()  # with its cache, which has the refused token
        options = self._options(claims)
        if claims is not None:
            options["enable_cae"] = True
        answer = yield options
        if isinstance(answer, Exception) and _is_garbled(answer):
            answer = yield options
        if isinstance(answer, TypeError) and (claims is not None or self._announces_cae):
            # It knows no such arguments, as a credential may: then it is asked as it was before the challenge.
            answer = yield self._plain_options()
        elif claims is not None and not isinstance(answer, Exception):
            # A token that was asked for with the claims of a challenge is kept apart from those without (azure-identity
            # has two caches), so that all later ones must be asked for in the same way.
            self._announces_cae = True
        granted = _granted(answer)
        if granted.token == refused and claims is None and self.given is not None:
            # A caller's credential keeps its cache. What continuous access evaluation claims is the way past it.
            again = yield self._options(_issued_from(time.time()))
            if isinstance(again, Exception):  # it takes no claims; and not every 401 is the token's fault
                return granted._replace(instead=again)
            granted = _granted(again)
        return granted

    def _plain_options(self) -> dict[str, Any]:
        return {} if self.tenant_id is None else {"tenant_id": self.tenant_id}

    def _options(self, claims: str | None) -> dict[str, Any]:
        options = self._plain_options()
        if self._announces_cae:
            options["enable_cae"] = True
        if claims is not None:
            options["claims"] = claims
        return options

    def failure(self, error: BaseException) -> str:
        """Why there is no token, in words for the caller: the credential, the scope, the authority and the reason."""
        lines = _lines(text_of(error))
        reason = "\n".join(self._scrubbed(line) for line in lines) or type(error).__name__
        own = type(error).__module__.startswith(("azure.", "azure_shim."))
        kind = "" if own or reason == type(error).__name__ else f"{type(error).__name__}: "
        return f"{self.name} got no token for {self.scope} from {self.authority}: {kind}{reason}"

    @property
    def authority(self) -> str:
        """The sign-in service, as far as it is known."""
        if self.identity is None:
            return authority_of(self.given) or _default_authority()
        if self.identity.mode == "managed":
            return "the identity endpoint of this machine"
        return self.identity.authority or _default_authority()

    def _scrubbed(self, text: str) -> str:
        for secret in secrets_of(self.given) if self.identity is None else self.identity.secrets:
            text = text.replace(secret, "***")
        return scrubbed(text)


def _request(credential: Any, scope: str, options: dict[str, Any]) -> Any:
    """Ask by azure-core's newer protocol, which tells when to refresh, or by the older one."""
    if hasattr(credential, "get_token_info"):
        return credential.get_token_info(scope, options=options)
    return credential.get_token(scope, **options)


def _granted(answer: Any) -> Granted:
    if isinstance(answer, Exception):
        raise answer
    fault = fault_of(getattr(answer, "token", None))
    if fault is not None:
        raise ValueError(f"what it returned has a token that {fault}")
    try:
        expires_on = float(answer.expires_on)
        refresh_on = getattr(answer, "refresh_on", None)
        granted = Granted(answer.token, expires_on, None if refresh_on is None else float(refresh_on))
        if math.isfinite(expires_on) and math.isfinite(granted.refresh_on or 0.0):
            return granted
    except (AttributeError, TypeError, ValueError):
        pass
    raise ValueError("what it returned does not say as a number when the token expires")


def _is_garbled(error: BaseException) -> bool:
    """Whether the token service's answer came empty or cut, which is worth a second question. Silence is not."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return False
        names = {kind.__name__ for kind in type(link).__mro__}
        if "ServiceResponseTimeoutError" in names or "Timeout" in names:
            return False
        if names & {"DecodeError", "IncompleteReadError", "JSONDecodeError", "ServiceResponseError"}:
            return True
        if isinstance(link, (KeyError, AttributeError, TypeError)) and _is_raised_in_azures_libraries(link):
            return True
        if _NO_ANSWER.search(text_of(link)):
            return True
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return False


def _is_raised_in_azures_libraries(error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get("__name__", "") if traceback is not None else ""
    return str(name).partition(".")[0] in ("azure", "msal")


def _issued_from(moment: float) -> str:
    """The claim by which a service that revoked a token asks for a later one (Microsoft Learn, "Claims challenges")."""
    return json.dumps({"access_token": {"nbf": {"essential": True, "value": str(int(moment))}}})


def _lines(message: str) -> list[str]:
    """azure-identity's reason, one line for each link of a chain."""
    lines: list[str] = []
    for line in message.splitlines():
        text = line.strip()
        if not text or text.startswith("To mitigate this issue"):
            continue
        if lines and not line.startswith(("\t", "Attempted")):
            lines[-1] += " " + text
        else:
            lines.append(text)
    return lines


def _default_authority() -> str:
    return os.environ.get("AZURE_AUTHORITY_HOST") or CLOUDS["public"].authority
