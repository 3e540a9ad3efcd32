"""The generator that decides what becomes of one request. It does no I/O: it yields effects and is sent outcomes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Union

from azure_shim.auth.flow import Renewals, send_signed
from azure_shim.auth.secrets import scrubbed
from azure_shim.values import Address, Answered, Body, Effect, Failed, Header, Late, Refusal, Send, Served, Target
from azure_shim.wire.bodies import ModelInBody, read_model
from azure_shim.wire.deployments import resolve
from azure_shim.wire.operations import Operation
from azure_shim.wire.request_line import RequestLine, address, refusal_of
from azure_shim.wire.to_openai import openai_address, refusal_of_openai

__all__ = ["Addresses", "Call", "Naming", "Route", "name_deployment", "route"]

Route = Generator[Effect, Any, Union[Answered, Failed, Refusal, Late]]


class Call(NamedTuple):
    """One request as the caller's client made it.

    ``headers`` are None if the caller's have no credential, else what is left of them without any; ``explicit`` is the
    credential that the caller gave for this request. ``content`` is the body if it is in memory, else None. ``limit_s``
    is how long the caller waits for a sign of life; ``content_length`` is that header of a body that is not in memory.
    ``key`` is what all of the SDK's retries of the call have, if the client says so; ``retry`` is which of them it is.
    ``deployment`` is the caller's wish for this call, which no target maps. ``streams`` says that it asks for a
    stream of events.
    """

    line: RequestLine
    headers: list[Header] | None
    explicit: Sequence[Header]
    content_type: str
    content_encoding: str
    content: bytes | None
    limit_s: float | None = None
    content_length: bytes = b""
    key: str | None = None
    retry: int = 0
    deployment: str | None = None
    streams: bool = False

    def __repr__(self) -> str:
        return f"Call({self.line!r})"


class Naming(NamedTuple):
    """What a call names: the caller's model, the deployment for it, and the body if it has to be another."""

    model: str | None = None
    deployment: str | None = None
    body: Body | None = None


_NOTHING_NAMED = Naming()
_KEPT = 1024


class Addresses:
    """What one target has for each line, kept: most calls of a process differ in their bodies alone.

    And what its answers have shown of its credential.
    """

    def __init__(self, target: Target, at: int = 0) -> None:
        self.target, self.at = target, at
        self.renewals = Renewals()
        self._refusals: dict[RequestLine, Refusal | None] = {}
        self._addresses: dict[tuple[RequestLine, str | None, str | None], Address] = {}

    def refusal(self, line: RequestLine) -> Refusal | None:
        try:
            return self._refusals[line]
        except KeyError:
            if len(self._refusals) >= _KEPT:
                self._refusals.clear()
            find = refusal_of_openai(line) if self.target.is_openai else refusal_of(line, self.target)
            refusal = self._refusals[line] = find
            return refusal

    def address(self, line: RequestLine, naming: Naming) -> Address:
        key = (line, naming.model, naming.deployment)
        try:
            return self._addresses[key]
        except KeyError:
            if len(self._addresses) >= _KEPT:
                self._addresses.clear()
            target = self.target
            url = openai_address(line, target) if target.is_openai else address(line, target, naming.deployment)
            served = Served(target.name, line.name, naming.model, naming.deployment)
            found = self._addresses[key] = Address(url, target.endpoint.origin.authority, served, self.at)
            return found


def route(call: Call, addresses: Addresses) -> Route:
    """Send ``call`` to the target, or say why not."""
    line, target = call.line, addresses.target
    refusal = addresses.refusal(line)
    if refusal is not None:
        return refusal
    naming = yield from name_deployment(call, target)
    if isinstance(naming, Refusal):
        return naming
    there = addresses.address(line, naming)
    if not call.explicit and not (target.credential.is_absent and target.headers):
        return (yield from send_signed(target.credential, there, call.headers, naming.body, addresses.renewals))
    outcome = yield Send(there, call.headers, call.explicit, naming.body)
    assert isinstance(outcome, (Answered, Failed))
    return outcome


def name_deployment(
    call: Call, target: Target, *, wants_name: bool = False
) -> Generator[Effect, Any, Naming | Refusal]:
    """Find the model that the call names, resolve it, and change the body where this target wants it changed.

    ``wants_name`` asks for the name even where nothing has to be changed for it.
    """
    operation = call.line.operation
    if operation is None or not operation.model_at:
        return _NOTHING_NAMED
    in_path = target.is_classic and operation.in_deployment
    drops = target.is_classic and operation.classic_drops_model
    has_names = target.deployments is not None or target.default_deployment is not None or target.unmapped == "error"
    if call.deployment is not None and (not call.deployment or call.deployment in (".", "..")):
        return Refusal(
            400, "InvalidDeployment", f"x-azure-shim-deployment: {call.deployment!r} cannot be a deployment's name"
        )
    wants_name = wants_name or call.deployment is not None
    if not in_path and not has_names and not wants_name and call.line.deployment is None and call.content is None:
        return _NOTHING_NAMED  # a form is not peeked at for the sake of telling who served
    found: ModelInBody | None = None
    if call.line.deployment is None or drops or has_names or not in_path:
        reading = yield from read_model(call.content, call.content_type, call.content_encoding, operation.model_at)
        if isinstance(reading, Refusal):
            return reading
        found = reading
        if not in_path and call.deployment is not None and (found is None or found.is_unread):
            return Refusal(
                400,
                "ModelMissing",
                f"x-azure-shim-deployment: {call.deployment!r} has no place in this request, whose model cannot be "
                "read before it is sent: name the deployment as its model.",
            )
        if not in_path and target.deployments is not None and found is not None and found.is_unread:
            return Refusal(
                400,
                "ModelMissing",
                f"{operation.method} /v1{operation.path} has its model behind a file, where it cannot be mapped to a "
                "deployment: put the field 'model' before the file.",
            )
    in_body = found.value if found is not None else None
    model = call.line.deployment or in_body or call.deployment
    if not model:
        return _without_model(target, operation, found, in_path=in_path, drops=drops)
    if call.deployment is not None:
        return Naming(model, call.deployment, _body_for(found, call.deployment, in_path=in_path, drops=drops))
    named = call.line.deployment is not None and call.line.deployment != in_body
    try:
        deployment = resolve(target, model, operation.path, is_deployment=named)
    except Exception as error:  # noqa: BLE001  the caller's own function; the SDK would retry it as a connection error
        return Refusal(
            400,
            "InvalidDeployment",
            f"deployments of target {target.name!r} raised {type(error).__name__}: {scrubbed(str(error))}",
            error,
        )
    if isinstance(deployment, Refusal):
        return deployment
    return Naming(model, deployment, _body_for(found, deployment, in_path=in_path, drops=drops))


def _without_model(
    target: Target, operation: Operation, found: ModelInBody | None, *, in_path: bool, drops: bool
) -> Naming | Refusal:
    """A call that names no model: the default deployment's, or nobody's."""
    default = target.default_deployment if target.default_for in (None, operation.path) else None
    if not in_path:
        if found is None:
            return _NOTHING_NAMED
        # A response may take its model from a stored prompt; the operations of deployments have it from the call alone.
        added = found.added(default) if default and operation.in_deployment and not found.is_present else None
        return Naming(body=found.unchanged()) if added is None else Naming(None, default, added)
    if not default:
        return Refusal(
            400,
            "ModelMissing",
            f"{operation.method} /v1{operation.path} names no model that can be read before it is sent: pass "
            "model='<deployment>' (in a form before its file), or give the client azure_deployment='<deployment>'.",
        )
    return Naming(None, default, _body_for(found, default, in_path=in_path, drops=drops))


def _body_for(found: ModelInBody | None, deployment: str, *, in_path: bool, drops: bool) -> Body | None:
    if found is None:
        return None
    if drops and found.is_present:
        # Where the path names the deployment, Azure holds `model` of an image call against its own list of names
        # (openai-python issue 2892).
        return found.dropped()
    if in_path or found.value == deployment:
        return found.unchanged()
    return found.replaced(deployment) if found.is_present else found.added(deployment)
