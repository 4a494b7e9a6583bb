"""Verbs under a common name, as in ``fcn data check``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Union

import tyro

from fullyconv.errors import UsageError, did_you_mean


class Command(Protocol):
    """A verb that reads its own command line, since what it takes depends on its first words."""

    @property
    def description(self) -> str:
        """What it does, in one sentence."""

    def run(self, args: Sequence[str], prog: str) -> int:
        """Run it on what was typed after ``prog``; exit status."""

    def whole(self) -> Any:
        """A type of which :func:`tyro.cli` makes the parser of everything that it takes."""


@dataclass(frozen=True)
class Group:
    """Verbs under a common name.

    Attributes:
        description: What they do, in one sentence.
        verbs: Each a function of typed arguments that returns an exit status, or a command.
    """

    description: str
    verbs: Mapping[str, Callable[..., int] | Command]

    def run(self, args: Sequence[str], prog: str) -> int:
        """Run the verb that a command line names; the others' parsers are not made.

        Args:
            args: Command line after ``prog``.
            prog: What was typed before it.

        Returns:
            Exit status.

        Raises:
            UsageError: If there is no such verb; names those with names like it.
        """
        if not args or args[0][:1] == "-":
            verbs: Any = _one_of(self.verbs, _listed)
            return int(tyro.cli(verbs, args=list(args), prog=prog, description=self.description))
        name = f"{prog} {args[0]}"
        verb = self.verbs.get(args[0])
        if verb is None:
            known = did_you_mean(args[0], list(self.verbs))
            raise UsageError(f"there is no {name!r}. {known}")
        if callable(verb):
            return tyro.cli(verb, args=list(args[1:]), prog=name)
        return verb.run(args[1:], name)

    def whole(self) -> Any:
        """A type of which :func:`tyro.cli` makes the parser of all the verbs."""
        return _one_of(self.verbs, lambda command: command.whole())


def _one_of(
    verbs: Mapping[str, Callable[..., int] | Command], parser: Callable[[Command], Any]
) -> Any:
    made: list[Any] = []
    for name, verb in verbs.items():
        of: Any = verb if callable(verb) else parser(verb)
        about = None if callable(verb) else verb.description
        made.append(Annotated[of, tyro.conf.subcommand(name=name, description=about)])
    return Union[tuple(made)]  # noqa: UP007 - as many as there are


def _listed(command: Command) -> Callable[[], int]:
    """A command as a line of help: it is run before anything is parsed."""
    return lambda: 0
