"""The command ``fcn``: chooses the verb, and says errors in one sentence. No torch at the top."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

import fullyconv
from fullyconv.commands.data import data
from fullyconv.commands.doctor import doctor
from fullyconv.commands.evaluate import evaluate
from fullyconv.commands.export import export
from fullyconv.commands.group import Group
from fullyconv.commands.heatmap import heatmap
from fullyconv.commands.info import info
from fullyconv.commands.new import new
from fullyconv.commands.predict import predict
from fullyconv.commands.serve import serve
from fullyconv.commands.study import study
from fullyconv.commands.train import train
from fullyconv.commands.view import view
from fullyconv.commands.weights import weights
from fullyconv.errors import FullyConvError, StoppedError, UsageError
from fullyconv.own_code import import_named

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130

_DESCRIPTION = """\
Fully convolutional networks: labels for every pixel of an image of any size.

  fcn predict street.jpg --out results     label photographs with the shipped model
  fcn new FOLDER                           propose a training run for your own pictures
  fcn train RECIPE --data.root FOLDER      train a network
  fcn evaluate MODEL FOLDER                score it
  fcn export MODEL --to onnx               write it for another engine
  fcn heatmap cat.jpg --class "tabby cat"  where a classifier sees a class
  fcn serve camvid                         a web page and an HTTP interface to label with
  fcn view results                         look through predictions in a browser
  fcn info voc-fcn8s                       what a network is and costs

--version prints the version; --debug shows the traceback of an error; --import FILE.py first runs
a Python file of yours, such as one that registers a backbone."""


def completion(
    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional],
) -> int:
    """Print what a shell needs to complete verbs, recipes, flags and files at the Tab key.

    bash: fcn completion bash > ~/.local/share/bash-completion/completions/fcn

    zsh: fcn completion zsh > DIRECTORY/_fcn, a DIRECTORY of $fpath, before compinit runs

    Args:
        shell: Whose.
    """
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        tyro.cli(VERBS.whole(), args=["--tyro-print-completion", shell], prog="fcn")
    text = script.getvalue()
    for theirs, ours in _MENDED.items():
        text = text.replace(theirs, ours)
    print(text, end="")
    return 0


_PRINTS = "    # Output one completion per line."
# What tyro leaves open in its scripts
_MENDED = {
    # it completes the files of flags alone; where no word fits, a file may (fcn predict PHOTO)
    _PRINTS: f'    completions = completions or ["__TYRO_COMPLETE_FILES__"]\n{_PRINTS}',
    # in bash it glues a word to the one before, as if a colon had been between them
    'compgen -f -- "$cur"': 'compgen -f -- "${COMP_WORDS[COMP_CWORD]}"',
}


VERBS = Group(
    _DESCRIPTION,
    {
        "predict": predict,
        "train": train,
        "evaluate": evaluate,
        "export": export,
        "heatmap": heatmap,
        "info": info,
        "weights": weights,
        "data": data,
        "new": new,
        "study": study,
        "serve": serve,
        "view": view,
        "doctor": doctor,
        "completion": completion,
    },
)


def run(args: Sequence[str]) -> int:
    """Run a command line and return its exit status; errors meant for users pass through."""
    if list(args) in (["--version"], ["-V"]):
        print(f"fullyconv {fullyconv.__version__}")
        return 0
    return VERBS.run(import_named(args), "fcn")


def main() -> None:
    """Entry point of the command: exit 0, 1 for failure, 2 for usage, 130 for Ctrl-C."""
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
        named = {UsageError: _USAGE, StoppedError: _INTERRUPTED}
        status = named.get(type(error), _FAILED)
    sys.exit(status)
