"""The ``WWW-Authenticate`` header of a 401: what continuous access evaluation claims of the next token."""

from __future__ import annotations

import base64
import binascii
import json
import re

__all__ = ["claims_of"]

# RFC 9110, section 11: a scheme, or a parameter whose value is a token or a quoted string with escapes. The part before
# a name keeps a long run of letters from being looked at from each of them.
_PART = re.compile(r"""(?<![\w!#$%&'*+.^`|~-])([\w!#$%&'*+.^`|~-]+)(?:\s*(=)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?""")
_ESCAPED = re.compile(r"\\(.)")
_MOST_CHARACTERS = 16 * 1024


def claims_of(challenge: str) -> str | None:
    """The claims, as JSON, that the next token is to be asked for with; None if this header has none.

    ``Bearer error="insufficient_claims", claims="<base64 of JSON>"`` (Microsoft Learn, "Claims challenges, claims
    requests and client capabilities"); a header may have challenges of other schemes besides.
    """
    parameters: dict[str, str] = {}
    is_bearer = False
    for name, is_parameter, quoted, plain in _PART.findall(challenge[:_MOST_CHARACTERS]):
        if not is_parameter:
            if is_bearer and _is_claiming(parameters):
                break
            is_bearer, parameters = name.lower() == "bearer", {}
        elif is_bearer:
            parameters.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) or plain)
    return _decoded(parameters["claims"]) if _is_claiming(parameters) else None


def _is_claiming(parameters: dict[str, str]) -> bool:
    return parameters.get("error") == "insufficient_claims" and bool(parameters.get("claims"))


def _decoded(encoded: str) -> str | None:
    """Both alphabets are seen, with and without padding."""
    bare = encoded.rstrip("=")
    try:
        text = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_").decode()
        return text if isinstance(json.loads(text), dict) else None
    except (binascii.Error, ValueError, RecursionError):
        return None
