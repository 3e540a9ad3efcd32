"""The command ``azure-shim``, which is ``python -m azure_shim`` too.

``run`` starts Python anew, with the patch turned on by ``AZURE_SHIM_AUTOPATCH``, in the place of this process. So all
of the program (its ``__main__``, ``sys.path``, tracebacks, signals, standard input and exit code) is as Python makes
it, and the variable reaches the Pythons that the program starts in turn.
"""

from __future__ import annotations

import argparse
import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import azure_shim
from azure_shim.autopatch import LEGACY, ON, VARIABLE
from azure_shim.config.files import config_from
from azure_shim.config.settings import read_settings
from azure_shim.errors import ConfigurationError

__all__ = ["main"]

_PTH = "azure_shim_autopatch.pth"
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_STARTUP = os.path.join(_ROOT, "azure_shim", "startup")
_USAGE = "%(prog)s [--legacy] [--config FILE] [PYTHON OPTION ...] (SCRIPT | -m MODULE | -c CODE | -) [ARGUMENT ...]"
_LONG_WITH_VALUE = "--check-hash-based-pycs"


def main(arguments: Sequence[str] | None = None, *, name: str = "azure-shim") -> NoReturn:
    """Do what the command line says, and exit; code 2 if it cannot be done."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    own, program = _split(command[1:]) if command[:1] == ["run"] else (command[1:], [])
    parser, run = _parsers(name)
    options = parser.parse_args([*command[:1], *own])
    if not program:
        run.error("which program? Name a script, -m MODULE, -c CODE, or - for standard input")
    try:
        _start(program, _environment(options))
    except _Trouble as trouble:
        run.exit(2, "".join(f"{name}: error: {line}\n" for line in str(trouble).splitlines()))


class _Trouble(Exception):  # noqa: N818  never seen outside this module
    """Why the program is not started."""


def _parsers(name: str) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(
        prog=name, description="Run code written for the openai client on Azure OpenAI.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"azure-shim {azure_shim.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="run", required=True)
    run = commands.add_parser(
        "run",
        help="run a Python program, unchanged, with the openai clients that it builds on Azure OpenAI",
        usage=_USAGE.replace("%(prog)s", f"{name} run"),
        description="Run a Python program, unchanged, with the openai clients that it builds on Azure OpenAI. Where "
        "that is, the environment says: AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, or AZURE_SHIM_CONFIG. After "
        "the options below comes what would follow `python`. The Pythons that the program starts run alike.",
        allow_abbrev=False,
    )
    run.add_argument("--legacy", action="store_true", help="the program is written for openai 0.x")
    run.add_argument("--config", metavar="FILE", help="the TOML or JSON file that AZURE_SHIM_CONFIG would name")
    return parser, run


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of ``run``, which come first, and the command line for Python."""
    end = 0
    while end < len(words) and (words[end] == "-h" or (words[end].startswith("--") and len(words[end]) > 2)):
        if words[end].startswith(_LONG_WITH_VALUE):
            break
        end += 2 if words[end] == "--config" else 1
    return list(words[:end]), list(words[end:])


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """The program's environment: this one's, with the options of ``run``, which its own children inherit by it.

    Raises:
        _Trouble: the settings cannot work; the program would fail at its first client.
    """
    environment = dict(os.environ)
    is_legacy = options.legacy or environment.get(VARIABLE, "").strip().lower() == LEGACY
    environment[VARIABLE] = LEGACY if is_legacy else ON
    if options.config is not None:
        # As it is seen from here: the program may change its directory.
        environment["AZURE_SHIM_CONFIG"] = os.path.abspath(os.path.expanduser(options.config))
    if not is_legacy or config_from(environment):  # a program for 0.x may name its resource and key itself
        try:
            read_settings({}, is_async=False, environ=environment)
        except ConfigurationError as error:
            raise _Trouble(str(error)) from None
    return environment


def _start(program: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Become Python with this command line and environment."""
    if not sys.executable:
        raise _Trouble("this Python does not know its own executable (sys.executable is empty)")
    options, letters = _python_options(sys.orig_argv[1:])
    letters |= _python_options(program)[1]
    if "S" in letters:
        raise _Trouble("Python's option -S leaves no way to patch a program as it starts: leave it out")
    if not _is_in_site_packages(letters):
        if letters & {"E", "I"}:
            raise _Trouble(f"Python's options -E and -I need azure_shim in site-packages: there is no {_PTH}")
        environment["PYTHONPATH"] = _python_path(environment)
    command = [sys.executable, *options, *program]
    if os.name == "nt":  # where exec starts another process, and this one would end before it
        sys.exit(_supervised(command, environment))
    os.execve(command[0], command, environment)  # noqa: S606  no shell is wanted


def _python_options(words: Sequence[str]) -> tuple[list[str], set[str]]:
    """The options at the head of a command line of Python, up to what names the program; and their letters."""
    found: list[str] = []
    letters: set[str] = set()
    rest = iter(words)
    for word in rest:
        if word in ("-", "--") or not word.startswith("-"):
            break
        if word.startswith("--"):
            found += [word, next(rest, "")] if word == _LONG_WITH_VALUE else [word]
            continue
        for place, letter in enumerate(word[1:], 1):
            if letter in "cm":  # python -Im azure_shim run
                return [*found, word[:place]] if place > 1 else found, letters
            letters.add(letter)
            if letter in "WX":
                found += [word] if word[place + 1 :] else [word, next(rest, "")]
                break
        else:
            found.append(word)
    return found, letters


def _is_in_site_packages(letters: set[str]) -> bool:
    """Whether Python, with the options of these letters, finds our ``.pth`` as it starts."""
    directories = site.getsitepackages()
    if site.ENABLE_USER_SITE and not letters & {"s", "I"}:
        directories.append(site.getusersitepackages())
    return any(os.path.isfile(os.path.join(directory, _PTH)) for directory in directories)


def _python_path(environment: Mapping[str, str]) -> str:
    """A ``PYTHONPATH`` that patches without our ``.pth``. What stands beside azure_shim is last and hides nothing."""
    given = environment.get("PYTHONPATH")
    entries = [entry for entry in given.split(os.pathsep) if entry != _STARTUP] if given else []
    return os.pathsep.join([_STARTUP, *entries, *([] if _ROOT in entries else [_ROOT])])


def _supervised(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of a child process that gets this one's signals and standard streams."""
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603  what the user asked for
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # the console sends it to the program too, which decides
                continue
            return code - 2**32 if code >= 2**31 else code  # sys.exit takes a signed one
