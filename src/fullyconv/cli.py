"""The command ``fcn``: parses, calls the function of the same name, prints. No torch at the top."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

import fullyconv
from fullyconv.config import BACKBONES, RELEASED_MODELS, Recipe, model_names
from fullyconv.errors import FullyConvError, UsageError

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def predict(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    model: str = "camvid",
    out: Path = Path("predictions"),
    save: str = "mask,overlay",
    runtime: str = "auto",
) -> int:
    """Label every pixel of photographs of any size.

    Args:
        sources: Photographs: files, folders (with their sub-folders) and patterns.
        model: Name of a shipped model (camvid), or a checkpoint.
        out: Folder for the results.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine: auto or torch.
    """
    from tqdm import tqdm

    from fullyconv import prediction as verb

    started = time.perf_counter()
    bar = tqdm(unit="photo", disable=None, leave=False)

    def report(path: Path, result: Any, files: Sequence[Path], number: int, total: int) -> None:
        bar.total, bar.n = total, number
        if isinstance(result, FullyConvError):
            bar.write(f"fcn: {result}", file=sys.stderr)
            return
        height, width = result.labels.shape
        shares = ", ".join(f"{name} {100 * s:.1f} %" for name, s in result.shares().items())
        bar.write(f"{path} ({height} x {width})\n  {shares}")
        for file in files:
            bar.write(f"  {file}")

    try:
        failures = verb.predict(
            sources, model=model, out=out, save=save, runtime=runtime, report=report
        )
    finally:
        bar.close()
    labelled = f"{bar.n - len(failures)} of {bar.n} photographs labelled"
    print(f"{out / verb.SUMMARY}\n{labelled} in {time.perf_counter() - started:.1f} s")
    if failures:
        print(f"fcn: {len(failures)} could not be labelled, as said above", file=sys.stderr)
    return _FAILED if failures else 0


def evaluate(
    model: Annotated[str, tyro.conf.Positional],
    data: Annotated[Path, tyro.conf.Positional],
    split: str = "val",
    out: Path = Path("scores.json"),
) -> int:
    """Score a model on labelled pictures: the paper's four numbers and each class's IU.

    Args:
        model: Name of a shipped model (camvid), or a checkpoint.
        data: Data set folder, which holds the split's folder.
        split: Sub-folder with images/ and labels/; "" if they lie in the data set folder itself.
        out: JSON file for the scores and the confusion matrix.
    """
    from fullyconv import evaluation as verb
    from fullyconv.checkpoint import model_path, read_header

    metrics = verb.evaluate(model, data, split=split, out=out, progress=sys.stderr.isatty())
    print(verb.table(metrics, read_header(model_path(model)).labels))
    print(out)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Training(Recipe):
    """A recipe, and where its run goes."""

    out: Path = Path("runs/latest")
    """Run folder: recipe, log, checkpoints and sample pictures."""
    resume: bool = False
    """Go on with the run in that folder."""


def train(args: Sequence[str]) -> int:
    """Train a network by a recipe, any part of which can be changed.

    Args:
        args: Command line after ``fcn train``.
    """
    from fullyconv.recipes import RECIPES

    choices = {
        name: (what, _Training(**_values(recipe), out=Path("runs") / name))
        for name, (what, recipe) in RECIPES.items()
    }
    chosen = tyro.extras.overridable_config_cli(choices, args=list(args), prog="fcn train")
    recipe = Recipe(**{field.name: getattr(chosen, field.name) for field in fields(Recipe)})
    from fullyconv import training as verb

    best = verb.train(recipe, chosen.out, resume=chosen.resume)
    print(best)
    if recipe.data.val:
        print(f"Next: fcn evaluate {best} {recipe.data.root} --split {recipe.data.val}")
    return 0


def _values(recipe: Recipe) -> dict[str, Any]:
    return {field.name: getattr(recipe, field.name) for field in fields(recipe)}


def weights(args: Sequence[str]) -> int:
    """List, get, check and import published weights: the authors' networks, ImageNet's.

    Args:
        args: Command line after ``fcn weights``.
    """
    verbs: dict[str, Callable[..., int]] = {
        "list": _list_weights,
        "get": _get_weights,
        "verify": _verify_weights,
        "import": _import_weights,
    }
    chosen = tyro.extras.subcommand_cli_from_dict(verbs, args=list(args), prog="fcn weights")
    return int(chosen)


def _list_weights(json: bool = False) -> int:
    """Every published file: what it fits, its size, checksum and licence, how to get it.

    Args:
        json: Print JSON.
    """
    from fullyconv.weights import cache_folder, list_weights

    rows = list_weights()
    if json:
        print(_dump([{**asdict(e), "path": str(path) if path else None} for e, path in rows]))
        return 0
    for entry, path in rows:
        size = f"{entry.size / 1e6:.0f} MB" if entry.size else "size not published"
        known = "sha256" if entry.sha256 else "sha1" if entry.sha1 else "no checksum published"
        print(f"{entry.name} for {entry.holds}: {size}, {known}")
        print(f"  {entry.address or 'nowhere'}")
        print(f"  licence: {entry.licence}")
        if entry.note:
            print(f"  {entry.note}")
        print(f"  {'here: ' + str(path) if path else 'get it: ' + entry.how}")
    print(f"\nCache: {cache_folder()} (FULLYCONV_HOME); FULLYCONV_OFFLINE=1 downloads nothing.")
    return 0


def _get_weights(
    name: Annotated[str, tyro.conf.Positional],
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    offline: bool = False,
) -> int:
    """Download a file into the cache, going on where a broken download ended, and check it.

    Args:
        name: As fcn weights list prints it.
        source: The file, got by hand: it is checked and copied.
        offline: Download nothing.
    """
    from fullyconv.weights import get

    print(get(name, source=source, offline=offline))
    return 0


def _verify_weights(name: Annotated[str, tyro.conf.Positional]) -> int:
    """Check a file in the cache again, and say which checksum it was held against.

    Args:
        name: As fcn weights list prints it.
    """
    from fullyconv.weights import verify

    checked = verify(name)
    print(f"{checked.path}\n  {checked.checksum} ({checked.origin})")
    return 0


def _import_weights(
    name: Annotated[str, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    partial: bool = False,
    width: float = 1.0,
) -> int:
    """Turn a .caffemodel of the authors' release into a checkpoint that predicts and trains.

    Args:
        name: Network, such as voc-fcn8s.
        out: The .safetensors file to write.
        source: The .caffemodel; without it, the published one from the cache or its address.
        partial: Accept a file that lacks layers or has more.
        width: Factor on the hidden channels, for small copies.
    """
    from fullyconv.conversion import import_caffemodel
    from fullyconv.weights import WEIGHTS, get

    licence = "as the file's owner says"
    if source is None:
        source, licence = get(name), WEIGHTS[name].licence
    report = import_caffemodel(source, name, out, licence=licence, partial=partial, width=width)
    print(f"{report}\n{out}\nNext: fcn predict PHOTO --model {out}")
    return 0


def data(args: Sequence[str]) -> int:
    """Turn the paper's published data sets into what training reads.

    Args:
        args: Command line after ``fcn data``.
    """
    verbs: dict[str, Callable[..., int]] = {"prepare": _prepare_data, "list": _list_data}
    return int(tyro.extras.subcommand_cli_from_dict(verbs, args=list(args), prog="fcn data"))


def _list_data() -> int:
    """What can be prepared, what to download, and how it should look."""
    from fullyconv.data.prepare import PREPARERS

    for name, preparer in PREPARERS.items():
        print(f"{name}: {preparer.description}\n  download: {preparer.download}")
        print(f"  expected: {preparer.structure}")
    return 0


def _prepare_data(
    name: Annotated[str, tyro.conf.Positional],
    sources: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    out: Path,
    splits: list[str] | None = None,
    workers: int | None = None,
) -> int:
    """Make a data set's folders of images and labels; called again, it goes on where it ended.

    Args:
        name: voc, sbd, nyudv2, siftflow, pascalcontext or camvid; see fcn data list.
        sources: Extracted folders or the published archives.
        out: Folder to make.
        splits: Splits to make; the usual ones if none is named.
        workers: Processes; as many as there are processors, up to 8, if not given.
    """
    from fullyconv.data.prepare import prepare

    progress = sys.stderr.isatty()
    print(prepare(name, sources, out, splits=splits, workers=workers, progress=progress))
    return 0


def info(
    name: Annotated[str, tyro.conf.Positional] = "",
    size: tuple[int, int] = (500, 500),
    measure: bool = True,
    json: bool = False,
) -> int:
    """Describe a network or a checkpoint; without a name, list what there is.

    Args:
        name: voc-fcn8s, fcn8s_vgg16, camvid, a checkpoint...
        size: Height and width at which operations are counted and time is measured.
        measure: Measure the time of a forward pass.
        json: Print JSON.
    """
    from fullyconv.checkpoint import SHIPPED_MODELS, model_path

    if not name:
        _print_names(json)
        return 0
    if name in SHIPPED_MODELS or name.endswith(".safetensors"):
        _print_checkpoint(model_path(name), size, measure, json)
        return 0
    if name in BACKBONES:
        name = f"fcn32s_{name}"
    from fullyconv.network_info import info as describe

    network = describe(name, size, measure)
    print(_dump(network.to_dict()) if json else network)
    return 0


def _print_names(as_json: bool) -> None:
    from fullyconv.checkpoint import SHIPPED_MODELS

    combined = [name for name in model_names() if name not in RELEASED_MODELS]
    groups = {
        "shipped models": list(SHIPPED_MODELS),
        "the authors' networks": list(RELEASED_MODELS),
        "networks over a backbone": combined,
    }
    if as_json:
        print(_dump(groups))
        return
    for title, names in groups.items():
        print(f"{title}:\n  " + "\n  ".join(names))


def _print_checkpoint(path: Path, size: tuple[int, int], measure: bool, as_json: bool) -> None:
    from fullyconv.checkpoint import read_header
    from fullyconv.network_info import info as describe

    header = read_header(path)
    if as_json:
        print(header.to_json())
        return
    model, infos = header.model, dict(header.info)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB, fullyconv {header.version})")
    print(f"  geometry    {model.geometry}")
    print(f"  categories  {', '.join(header.labels.categories)}")
    print(f"  input       {header.preprocess}")
    infos.pop("recipe", None)
    for key, value in infos.items():
        print(f"  {key:<11} {_dump(value) if isinstance(value, dict) else value}")
    print(describe(model, size, measure))


def _dump(value: Any) -> str:
    return json.dumps(value, indent=1)


_VERBS: dict[str, Callable[..., int]] = {
    "predict": predict,
    "train": train,
    "evaluate": evaluate,
    "info": info,
    "weights": weights,
    "data": data,
}


def run(args: Sequence[str]) -> int:
    """Run a command line and return its exit status; errors meant for users pass through."""
    if args and args[0] in ("train", "weights", "data"):
        return _VERBS[args[0]](args[1:])
    if list(args) in (["--version"], ["-V"]):
        print(f"fullyconv {fullyconv.__version__}")
        return 0
    chosen = tyro.extras.subcommand_cli_from_dict(
        _VERBS, args=list(args), prog="fcn", description=_DESCRIPTION
    )
    return int(chosen)


_DESCRIPTION = """\
Fully convolutional networks: labels for every pixel of an image of any size.

  fcn predict street.jpg --out results     label photographs with the shipped model
  fcn train RECIPE --data.root FOLDER      train a network
  fcn evaluate MODEL FOLDER                score it
  fcn info voc-fcn8s                       what a network is and costs

--version prints the version; --debug shows the traceback of an error."""


def main() -> None:
    """Entry point of the command: exit 0 for success, 1 for failure, 2 for usage."""
    args = [arg for arg in sys.argv[1:] if arg != "--debug"]
    debug = len(args) < len(sys.argv) - 1
    try:
        status = run(args)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone (| head): that is no error, but stdout is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except FullyConvError as error:
        if debug:
            raise
        print(f"fcn: {error}", file=sys.stderr)
        status = _USAGE if isinstance(error, UsageError) else _FAILED
    sys.exit(status)
