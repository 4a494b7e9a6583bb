"""The studies of ``fcn study`` that train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fullyconv.commands.train import use_large_pages
from fullyconv.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from fullyconv.config import Recipe
    from fullyconv.study.variants import TrainingStudy


@dataclass(frozen=True)
class _Options:
    """What every study of training takes."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Data set folder, as for fcn train."""
    base: str = "finetune"
    """Recipe that all variants share; fcn train --help lists them."""
    steps: int | None = None
    """Steps of each run; the recipe's, if not given."""
    crop: tuple[int, int] | None = None
    """Height and width cut out of each picture; the recipe's, if not given."""
    batch_size: int | None = None
    """Pictures in a batch; the recipe's, if not given."""
    lr: float | None = None
    """Learning rate; the recipe's, if not given."""
    set: tuple[str, ...] = ()
    """Other settings of the recipe by their names: --set model.width=0.5 data.scale=0.5,2."""
    seeds: tuple[int, ...] = ()
    """Seeds to train each variant with, for the mean and its spread; the recipe's, if not given."""
    only: tuple[str, ...] = ()
    """Variants to take; all, if not given."""
    out: Path | None = None
    """Folder of the runs and of the table; studies/NAME, if not given."""

    def changes(self) -> dict[str, Any]:
        """The settings that were given, by their names in a recipe."""
        given = {
            "optim.max_iters": self.steps,
            "data.crop": self.crop,
            "optim.batch_size": self.batch_size,
            "optim.lr": self.lr,
        }
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class _Background(_Options):
    background: tuple[str, ...] = ("background",)
    """Classes to train with and without."""

    def changes(self) -> dict[str, Any]:
        """Those, and what to train without."""
        return {**super().changes(), "data.void": self.background}


@dataclass(frozen=True)
class _Masking(_Options):
    foreground: tuple[str, ...] = ()
    """Classes that are foreground; all but background, if not given and there is one."""

    def changes(self) -> dict[str, Any]:
        """Those, and what is foreground."""
        own = {"data.foreground": self.foreground} if self.foreground else {}
        return {**super().changes(), **own}


def _run(name: str, options: _Options) -> int:
    use_large_pages()
    from fullyconv.config import Recipe
    from fullyconv.processes import this_process
    from fullyconv.recipes import recipe
    from fullyconv.study.training_studies import training_study
    from fullyconv.study.variants import changed, train_study

    base = recipe(options.base)
    names = [_named(setting, base) for setting in options.set]
    if names:
        args = [word for setting in options.set for word in _words(setting)]
        base = tyro.cli(
            Recipe,
            args=args,
            default=base,
            prog=f"fcn train {options.base}",  # whose help tells of these
            config=(tyro.conf.FlagConversionOff,),
        )
    base = changed(base, {"data.root": options.data, **options.changes()})
    study = training_study(name, base)
    for setting in names:
        _refuse_varied(setting, study)
    out = options.out or Path("studies") / name
    result = train_study(study, out, seeds=options.seeds, only=options.only, progress=True)
    if this_process().is_main_process:
        print(f"{result.table()}\n{out / 'study.json'}\n{out / 'compare.html'}")
    return 0


def _named(setting: str, base: Recipe) -> str:
    """The name of the setting in ``data.scale=0.5,2``, as a recipe has it."""
    known: list[str] = []
    for key, value in base.to_dict().items():
        known += [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
    given, equals, _ = setting.partition("=")
    name = given.replace("-", "_")
    if name not in known:
        all_of_them = "fcn train RECIPE --help lists them."
        said = did_you_mean(name, known, all_of_them).replace("_", "-")
        raise UsageError(f"--set {setting}: there is no setting {given!r}. {said}")
    if not equals:
        raise UsageError(f"--set {setting}: there is no value; write --set {setting}=VALUE")
    return name


def _refuse_varied(name: str, study: TrainingStudy) -> None:
    """Refuse a setting that every variant has its own value of: it would not count."""
    if all(name in variant.changes for variant in study.variants):
        raise UsageError(
            f"--set {name.replace('_', '-')} would not count: the study {study.name} has a value "
            "of its own for each variant; leave it out, and choose variants by --only"
        )


def _words(setting: str) -> list[str]:
    """``data.scale=0.5,2`` as fcn train has it: ``--data.scale 0.5 2``."""
    name, _, values = setting.partition("=")
    return [f"--{name}", *(values.split(",") if values else [])]


_Given = Annotated[_Options, tyro.conf.arg(name="")]


def skips(options: _Given) -> int:
    """Train FCN-32s, 16s, 8s and single layers (CVPR 2015, table 2)."""
    return _run("skips", options)


def trunk(options: _Given) -> int:
    """Train all layers, or the class scores alone (CVPR 2015, table 2)."""
    return _run("trunk", options)


def upsampling(options: _Given) -> int:
    """Train with fixed and with learned upsampling between skips (CVPR 2015, 4.3)."""
    return _run("upsampling", options)


def balancing(options: _Given) -> int:
    """Train with and without weights on rare classes (CVPR 2015, 4.3)."""
    return _run("balancing", options)


def patch_sampling(options: _Given) -> int:
    """Train on all pixels of a picture, or on some of more pictures (CVPR 2015, figure 5)."""
    return _run("patch-sampling", options)


def momentum(options: _Given) -> int:
    """Train on batches of 20, or on single pictures with more momentum."""
    return _run("momentum", options)


def background(options: Annotated[_Background, tyro.conf.arg(name="")]) -> int:
    """Train with and without a score for background (PAMI 2017)."""
    return _run("background", options)


def masking(options: Annotated[_Masking, tyro.conf.arg(name="")]) -> int:
    """Train on pictures whose foreground, background or both are hidden (PAMI 2017)."""
    return _run("masking", options)


TRAINING: dict[str, Callable[..., int]] = {
    "skips": skips,
    "trunk": trunk,
    "upsampling": upsampling,
    "balancing": balancing,
    "patch-sampling": patch_sampling,
    "momentum": momentum,
    "background": background,
    "masking": masking,
}
"""By name on the command line."""
