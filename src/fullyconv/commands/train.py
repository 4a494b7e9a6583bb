"""``fcn train``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from fullyconv.commands.group import parse, show_help
from fullyconv.config import Recipe
from fullyconv.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class _Training(Recipe):
    """A recipe, and where its run goes."""

    out: Path = Path("runs/latest")
    """Run folder: recipe, log, checkpoints and sample pictures."""
    resume: bool = False
    """Go on with the run in that folder."""


@dataclass(frozen=True)
class _Train:
    """The verb: its flags are those of the recipe that is its first word."""

    description: str

    def run(self, args: Sequence[str], prog: str) -> int:
        """Train, or draw runs together."""
        if not args:
            return show_help(self.run, prog)
        if args[0] == "--compare":
            return int(parse(_compare, args[1:], f"{prog} --compare"))
        if args[0] in ("-h", "--help"):
            from fullyconv.recipes import RECIPES

            return _train(
                tyro.extras.overridable_config_cli(
                    _choices(RECIPES), args=list(args), prog=prog, description=_DESCRIPTION
                )
            )
        if args[0][:1] == "-":
            raise UsageError(
                f"the recipe goes before {args[0]}: {prog} RECIPE {args[0]}; {prog} --help lists "
                "them, and recipe.json in a run folder is one, too"
            )
        of = _of_file if args[0].endswith(".json") else _of_name
        return _train(of(args[0], args[1:], prog))

    def whole(self) -> Any:
        """Every recipe with every flag."""
        from fullyconv.recipes import RECIPES

        choices = _choices(RECIPES)
        return tyro.extras.subcommand_type_from_defaults(
            {name: recipe for name, (_, recipe) in choices.items()},
            {name: what for name, (what, _) in choices.items()},
            prefix_names=False,
        )


train = _Train("Train a network by a recipe, any part of which can be changed; or compare runs.")


def _choices(
    recipes: Mapping[str, tuple[str, Recipe]],
) -> dict[str, tuple[str, _Training]]:
    return {
        name: (what, _Training(**_values(recipe), out=Path("runs") / name))
        for name, (what, recipe) in recipes.items()
    }


def _of_name(name: str, args: Sequence[str], prog: str) -> _Training:
    """The recipe of a name, with what the flags change."""
    from fullyconv.recipes import RECIPES, recipe

    recipe(name)  # says which it might be, if there is none of the name
    what, default = _choices(RECIPES)[name]
    return _changed(default, what, args, f"{prog} {name}")


def _of_file(file: str, args: Sequence[str], prog: str) -> _Training:
    """The recipe in a file, with what the flags change; the run is called as its folder is."""
    from fullyconv.recipe_file import read_recipe

    path = Path(file).resolve()
    run = path.parent.name if path.stem == "recipe" else path.stem
    default = _Training(**_values(read_recipe(file)), out=Path("runs") / run)
    said = f"Train by {file}, any part of which can be changed."
    return _changed(default, said, args, f"{prog} {file}")


def _changed(default: _Training, what: str, args: Sequence[str], prog: str) -> _Training:
    """A recipe with what the flags change of it."""
    chosen: _Training = parse(_Training, args, prog, default=default, description=what)
    return chosen


def _train(chosen: _Training) -> int:
    recipe = Recipe(**{field.name: getattr(chosen, field.name) for field in fields(Recipe)})
    use_large_pages()
    from fullyconv import training as verb
    from fullyconv.processes import this_process
    from fullyconv.protocols import protocol_of

    best = verb.train(recipe, chosen.out, resume=chosen.resume)
    if not this_process().is_main_process:
        return 0
    print(best)
    if recipe.data.val:
        settings = json.loads((chosen.out / "recipe.json").read_text("utf-8"))
        root = settings["data"]["root"]  # perhaps prepared beside the one that was given
        data = recipe.data
        rule = protocol_of(data.published, data.val, settings["model"]["num_classes"])
        how = f"--protocol {rule}" if rule else f"--split {data.val}"
        print(f"Next: fcn evaluate {best} {root} {how}")
    return 0


def use_large_pages() -> None:
    """Large pages for large tensors; PyTorch looks once, before its first tensor."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


_DESCRIPTION = """\
Train a network by a recipe, any part of which can be changed: fcn train RECIPE --help.
A recipe may also be a file: recipe.json of a run folder, or as fcn new writes it.
fcn train --compare RUN1 RUN2 draws runs together."""


def _compare(
    runs: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: Path = Path("compare.html"),
) -> int:
    """Draw runs together: losses, scores, and the settings in which they differ.

    Args:
        runs: Run folders, or a folder of them (runs), of which all are taken.
        out: The page to write.
    """
    from fullyconv.report.runs import compare

    print(compare(runs, out))
    return 0


def _values(recipe: Recipe) -> dict[str, Any]:
    return {field.name: getattr(recipe, field.name) for field in fields(recipe)}
