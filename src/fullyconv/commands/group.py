"""Verbs under a common name, as in ``fcn data check``."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Union

import tyro

from fullyconv.errors import UsageError, did_you_mean

_MEANT = {
    "--out": ("-o", "--output", "--output-dir", "--out-dir"),
    "--model": ("-m", "--weights", "--checkpoint"),
    "--optim.max-iters": ("--steps", "--max-steps", "--iterations", "--iters"),
    "--optim.lr": ("--learning-rate",),
    "--data.root": ("--data", "--dataset", "--root"),
}
"""Options, and what others call them, too far from it for tyro to suggest."""
_ELSEWHERE = {
    "a GPU is taken where PyTorch has one; CUDA_VISIBLE_DEVICES chooses among several": (
        "--device", "--gpu", "--cuda",
    ),
    "> /dev/null hides what is printed, 2> /dev/null progress and errors": ("-q", "--quiet"),
}  # fmt: skip
"""What is done by other means, and the options that others have for it."""


def parse(of: Any, args: Sequence[str], prog: str, **options: Any) -> Any:
    """:func:`tyro.cli`; of options that others call otherwise it is said what they are here.

    Args:
        of: Function or type.
        args: Command line after ``prog``.
        prog: What was typed before it.
        **options: Others of :func:`tyro.cli`.
    """
    try:
        return tyro.cli(of, args=list(args), prog=prog, **options)
    except SystemExit as end:
        if end.code == 2:  # a box has said what is wrong
            _say_what_is_meant(args, _options(of, prog, **options))
        raise


def _options(of: Any, prog: str, **options: Any) -> set[str]:
    """The options that its help shows."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(of, args=["--help"], prog=prog, **options)
    lines = re.findall(r"^\W (-.+)", text.getvalue(), re.MULTILINE)
    return {word.rstrip(",") for line in lines for word in line.split()}


def _say_what_is_meant(args: Sequence[str], known: set[str]) -> None:
    said = {
        name: f"{name} is {option} here"
        for option, names in _MEANT.items() if option in known for name in names
    }  # fmt: skip
    for means, names in _ELSEWHERE.items():
        said |= {name: f"there is no {name}: {means}" for name in names}
    for given in dict.fromkeys(arg.partition("=")[0] for arg in args):
        if given in said and given not in known:
            print(f"fcn: {said[given]}", file=sys.stderr)


def show_help(verb: Callable[[Sequence[str], str], int], prog: str) -> int:
    """Print the help of a verb that was given nothing; its exit status is that of a mistake."""
    with contextlib.suppress(SystemExit):
        verb(["--help"], prog)
    return 2


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
        if not args:
            return show_help(self.run, prog)
        if args[0][:1] == "-":
            verbs: Any = _one_of(self.verbs, _listed)
            return int(parse(verbs, args, prog, description=self.description))
        name = f"{prog} {args[0]}"
        verb = self.verbs.get(args[0])
        if verb is None:
            known = did_you_mean(args[0], list(self.verbs))
            raise UsageError(f"there is no {name!r}. {known}")
        if callable(verb):
            return int(parse(verb, args[1:], name))
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
