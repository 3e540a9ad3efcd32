"""Enables the patch in an interpreter that reads no ``.pth`` of ours, then makes way for that machine's sitecustomize.

This directory is on the path of programs that ``azure_shim run`` starts where azure_shim is not installed in
site-packages (a checkout on ``PYTHONPATH``, a zipapp); it comes first there and takes itself off again.
"""

import contextlib
import importlib
import os
import sys

_here = os.path.dirname(__file__)
_own = sys.modules.pop(__name__)
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]

with contextlib.suppress(Exception):  # another Python that shares the variable, and is too old for azure_shim
    importlib.import_module("azure_shim.autopatch").enable()

try:
    importlib.import_module("sitecustomize")
except ImportError as error:
    if error.name != "sitecustomize":
        raise
    sys.modules[__name__] = _own
