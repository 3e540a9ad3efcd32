"""Where a config comes from: a mapping, a typed node, or a TOML or JSON file."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from azure_shim.auth.secrets import shown_path
from azure_shim.errors import ConfigurationError

__all__ = ["config_from", "load", "plain"]

_VARIABLE = "AZURE_SHIM_CONFIG"
_POSITION = re.compile(r"\((at [\w ,]+)\)$")


def config_from(environ: Mapping[str, str]) -> str | None:
    """The path of the config that ``AZURE_SHIM_CONFIG`` names, if it does."""
    return environ.get(_VARIABLE, "").strip() or None


def load(config: Any) -> Any:
    """The config's mapping; that of the file if ``config`` is a path that ends in ``.toml`` or ``.json``.

    Raises:
        ConfigurationError: there is no such file, it is neither TOML nor JSON, or ``config`` is something else.
    """
    if isinstance(config, (str, os.PathLike)):
        return _load_file(os.fspath(config))
    config = plain(config)
    if not isinstance(config, Mapping):
        raise ConfigurationError(
            [
                f"config: is {_described(config)}; expected a mapping, the path of a .toml or .json file, or one of "
                "azure_shim's AzureTarget, OpenAITarget, LoadBalance, Fallback and Conditional"
            ]
        )
    return config


def plain(node: Any) -> Any:
    """The mapping of a typed node; anything else as it is."""
    as_config = None if inspect.isclass(node) or isinstance(node, Mapping) else getattr(node, "as_config", None)
    return node if as_config is None else as_config()


def _described(config: object) -> str:
    return f"the class {config.__name__}" if isinstance(config, type) else f"of type {type(config).__name__}"


def _toml() -> Any:
    """Python's own reader, or before 3.11 the package that it was made of."""
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def _load_file(path: str | bytes) -> Any:
    if isinstance(path, bytes):
        raise ConfigurationError(["config: is a path of bytes; expected a str"])
    name = shown_path(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".toml", ".json"):
        raise ConfigurationError([f"config: is {name}; as a str it is the path of a .toml or .json file"])
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise ConfigurationError([f"config: the file {name} is not text in UTF-8"]) from None
    except (OSError, ValueError) as error:  # a character that no path has
        reason = getattr(error, "strerror", None) or "it is no path"
        raise ConfigurationError([f"config: the file {name} cannot be read: {reason}"]) from None
    try:
        config = json.loads(text) if suffix == ".json" else _toml().loads(text)
    except json.JSONDecodeError as error:
        at = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ConfigurationError([f"config: the file {name} is no JSON: {at}"]) from None
    except ValueError as error:
        # What the parser says may quote the file, in which are secrets; where it is will do.
        found = _POSITION.search(str(error))
        raise ConfigurationError(
            [f"config: the file {name} is no TOML{': error ' + found[1] if found else ''}"]
        ) from None
    except RecursionError:
        raise ConfigurationError([f"config: the file {name} is nested too deeply"]) from None
    if not isinstance(config, dict):
        raise ConfigurationError([f"config: the file {name} has a {type(config).__name__}; expected an object"])
    return config
