"""Checks of keys and tokens that never show them."""

from __future__ import annotations

import re

__all__ = ["fault_of", "looks_like_token", "scrubbed", "shown", "shown_path", "text_of", "without_bearer"]

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_WORDS = re.compile(r"[\x20-\x7e]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
_LONG = re.compile(r"(?<![\w-])(?=[\w-]*\d)[\w-]{24,}(?![\w-])")
_BASE64 = re.compile(r"(?<![\w+/-])(?=[\w+/-]*\d)(?=[\w/-]*\+|[\w+/-]+=(?!\w))[\w+/-]{20,}={0,2}")
# A client secret of Entra is about forty characters with a tilde among them.
_CLIENT_SECRET = re.compile(r"(?<![\w~.-])(?=[\w.-]*~)(?=[\w~.-]*\d)[\w~.-]{30,}")
# A name or a path; nothing with a line break, a user's part of a URL, or the look of something made up by a machine.
_PLAIN = re.compile(r"(?!.*[A-Za-z0-9]{20})[\w ./:\\-]{1,120}")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def fault_of(value: object, *, is_key: bool = False) -> str | None:
    """What is wrong with a token, or with a key, or None.

    A header's value is of visible ASCII, and of spaces in its inside (RFC 9110, section 5.5). A token has none of them
    (section 11.2); a key is whatever its gateway calls one.
    """
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}; expected a str"
    if not value:
        return "is empty"
    if value != value.strip():
        return "has white space or a line break around it"
    if is_key and value[:7].lower() == "bearer ":
        return "has 'Bearer' and white space before it; expected the key alone"
    if not (_WORDS if is_key else _VISIBLE).fullmatch(value):
        return f"has {'' if is_key else 'white space, '}a control character or a non-ASCII character in it"
    return None


def shown(value: object) -> str:
    """A value for a message about it, if it is a plain word or path; else what it is, since it may be a secret."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and scrubbed(value) == value:
        return repr(value)
    return f"a str of {len(value)} characters" if isinstance(value, str) else f"of type {type(value).__name__}"


def without_bearer(token: str) -> str:
    """A token as it is often copied, without its leading ``Bearer``."""
    return token[7:].lstrip(" ") if token[:7].lower() == "bearer " else token


def looks_like_token(value: str) -> bool:
    """Whether this is a JSON Web Token, which no Azure OpenAI key looks like."""
    return value.startswith("eyJ") and value.count(".") == 2


def shown_path(path: str) -> str:
    """As `shown`, of what ought to be a path: one that begins like one is no secret."""
    is_one = path.startswith(("/", "./", "../", "~/")) or path[1:3] in (":\\", ":/")
    return repr(path) if is_one and path.isprintable() and len(path) <= 255 else shown(path)


def text_of(error: BaseException) -> str:
    """What an exception says, which may be one of somebody's own that cannot say it."""
    try:
        return str(getattr(error, "message", None) or error)
    except Exception:  # noqa: BLE001  as above
        return ""


def scrubbed(text: str) -> str:
    """``text`` with everything that could be a token or a key masked; the GUIDs of tenants and clients stay."""
    for pattern in (_JWT, _CLIENT_SECRET, _BASE64):
        text = pattern.sub("***", text)
    return _LONG.sub(lambda found: found[0] if _GUID.fullmatch(found[0]) else "***", text)
