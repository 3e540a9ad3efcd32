"""What goes wrong, as exceptions.

    Exception
    └── AzureShimError
        ├── ConfigurationError (also a ValueError)     an argument, a variable or a combination of them is wrong
        │   ├── AsyncCredentialError (also a TypeError)   something async was passed to a client that blocks
        │   └── both are raised by the clients as ones that are also an openai.OpenAIError
        └── CredentialError                            AzureAuth has nothing to sign a request with

Trouble of one request that goes through our transport is never one of these. It reaches the caller as openai's own
error, raised by the SDK from the response it got: Azure's own answer, or, where no byte was sent, an answer made by
this package that says so in the header ``x-azure-shim-refused``. Code around any version of the SDK handles both alike.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["AsyncCredentialError", "AzureShimError", "ConfigurationError", "CredentialError"]


class AzureShimError(Exception):
    """Base class of the errors that this package raises itself."""


class ConfigurationError(AzureShimError, ValueError):
    """The settings of a client cannot work.

    ``problems`` has one sentence per problem; each names the argument or the environment variable, what is wrong with
    it and what would be right. No sentence quotes a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class AsyncCredentialError(ConfigurationError, TypeError):
    """A credential or a provider that has to be awaited was passed to a client that blocks."""


class CredentialError(AzureShimError):
    """`AzureAuth` could get no credential for a request; the message names the source and its reason, and no secret."""
