"""The exceptions of cascade.

    CascadeError
    ├── UserError            the user can mend it: one line with the value, the place and what to type; exit code 2
    │   ├── MissingExtra     an engine's packages are not installed
    │   ├── UnknownName      no such dataset, captioner, prompt, parameter, …
    │   ├── DatasetError     a row that cannot be used, by file and line
    │   ├── RunError         a run directory of another run, in use, or damaged
    │   ├── CacheError       a cache that cannot be used, or an entry that is damaged
    │   ├── ProviderStop     the provider refuses every call alike: wrong key, unknown model, refused parameter
    │   └── BudgetSpent      the next call might pass what may be spent
    └── ItemError            one item has no result: recorded as a `Failure`, and the run goes on
        ├── ClipError        a clip that cannot be decoded
        └── ReplyError       a reply that cannot be had: content filter, empty
            └── Transient    the same, but trying again may help: rate limit, server fault, time-out

Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade.types import Failure


class CascadeError(Exception):
    """The root of everything that cascade raises on purpose."""


NOT_APPLICABLE = "not_applicable"  # the kind of an `ItemError` that is no failure: the control has nothing to go by


class UserError(CascadeError):
    """Something that the user can mend; the message is one line."""


class MissingExtra(UserError):
    """The packages of an optional part are not installed; `command` installs them."""

    def __init__(self, what: str, module: str, command: str) -> None:
        super().__init__(f"{what} needs the module {module!r}, which is not installed: {command}")
        self.command = command


class UnknownName(UserError):
    """An unknown name, with the most similar known name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        from difflib import get_close_matches

        known = sorted(known)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r} ({guess})" + f"; {hint}" * bool(hint))


class DatasetError(UserError):
    """A dataset's file or one of its rows cannot be used."""


class RunError(UserError):
    """A run directory cannot be used for what was asked."""


class CacheError(UserError):
    """The cache, or one entry of it, cannot be used."""


class ProviderStop(UserError):
    """The provider would refuse every further call the same way, so the run stops."""


class MissingKey(ProviderStop):
    """The provider's key, or a server's address, is missing; a plan does not need it."""


class Refused(ProviderStop):
    """The provider refuses the request itself: a parameter of it, or its form."""


class BudgetSpent(UserError):
    """The next call might pass what may be spent; what was answered is kept."""


class ItemError(CascadeError):
    """One item has no result; `cost`, in US dollars, is what a provider charged all the same.

    `charged` is what all tries counted against a budget, None for the cost. `unpriced` is a call that a provider
    charges for, and whose cost is not known.
    """

    cost: float | None = None
    unpriced: bool = False
    charged: float | None = None

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def failure(self) -> Failure:
        """Return this error as the record that stands in captions and logs."""
        from cascade.types import Failure  # The command line's help needs no record.

        charged = {} if self.charged is None else {"charged": self.charged}
        return Failure(kind=self.kind, message=str(self), cost=self.cost, **charged)


class ClipError(ItemError):
    """A clip that cannot be decoded: missing, empty, corrupt."""

    def __init__(self, message: str) -> None:
        super().__init__("audio", message)


class ReplyError(ItemError):
    """The model gave no reply that could be read later; asking again now would not help.

    `tokens`, in and out, are what the provider charged for.
    """

    tokens: tuple[int, int] | None = None


class Transient(ReplyError):
    """The model gave no reply this time. `retry_after` is the wait the provider asked for, in seconds."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind, message)
        self.retry_after = retry_after
