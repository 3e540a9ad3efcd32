"""The ``WWW-Authenticate`` header of a 401: what continuous access evaluation claims of the next token."""

from __future__ import annotations

import base64
import binascii
import json
import re

__all__ = ["claims_of"]

# auth-param of RFC 9110, section 11.2: a token, or a quoted string with escapes.
_PARAMETER = re.compile(r"""([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")
_ESCAPED = re.compile(r"\\(.)")


def claims_of(challenge: str) -> str | None:
    """The claims, as JSON, that the next token is to be asked for with; None if this challenge has none.

    ``Bearer error="insufficient_claims", claims="<base64 of JSON>"`` (Microsoft Learn, "Claims challenges, claims
    requests and client capabilities").
    """
    found = {
        name.lower(): _ESCAPED.sub(r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(challenge)
    }
    encoded = found.get("claims")
    if not encoded or found.get("error") != "insufficient_claims":
        return None
    try:
        # Both alphabets are seen, with and without padding.
        text = base64.b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), altchars=b"-_").decode()
        return text if isinstance(json.loads(text), dict) else None
    except (binascii.Error, ValueError):
        return None
