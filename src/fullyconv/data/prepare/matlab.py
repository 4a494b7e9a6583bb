"""Reading arrays from .mat files: version 5 by scipy, version 7.3 (which is HDF5) by h5py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional


def is_v73(path: Path) -> bool:
    """Whether a .mat file is of version 7.3, by its first bytes.

    Raises:
        FullyConvError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(10) == b"MATLAB 7.3"
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror})") from error


def read_mat(path: Path, *names: str) -> NDArray[Any]:
    """One array of a .mat file of either version, in MATLAB's order of axes.

    Args:
        path: The file.
        names: The variable, and the fields to follow if it is a struct.

    Raises:
        FullyConvError: If the file is damaged, or has no such variable; says which it has.
    """
    if is_v73(path):
        with opened_v73(path) as file:
            array = np.asarray(member(file, names, path)).transpose()
    else:
        array = _read_v5(path, names)
    if array.dtype.kind not in "biuf":
        raise FullyConvError(f"{path}: {'.'.join(names)} is not an array of numbers")
    return array


def _read_v5(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    scipy_io = needed("scipy.io")
    variable, *fields = names
    try:
        values = scipy_io.loadmat(path, variable_names=[variable]).get(variable)
        for field in fields:
            # a struct is an array of one record; its fields are arrays of one object
            known = values is not None and field in (values.dtype.names or ())
            values = values[field].item() if known else None
        held = [name for name, *_ in scipy_io.whosmat(path)] if values is None else []
    except Exception as error:  # scipy raises nearly every kind
        raise FullyConvError(f"{path}: the .mat file is damaged or cut short ({error})") from error
    if values is None:
        raise _no_variable(path, names, held)
    return np.asarray(values)


def read_ids(path: Path, *names: str) -> NDArray[np.int64]:
    """A two-dimensional array of whole numbers, which some files hold as floating-point ones.

    Raises:
        FullyConvError: As :func:`read_mat`, or if it is not of this kind.
    """
    array = read_mat(path, *names)
    whole = array.astype(np.int64)
    if array.ndim != 2 or not (whole == array).all():
        raise FullyConvError(
            f"{path}: {'.'.join(names)} of shape {array.shape} is not a picture of whole numbers"
        )
    return whole


@contextmanager
def opened_v73(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading; whatever h5py raises becomes one sentence.

    Raises:
        FullyConvError: If h5py is not installed, or the file is damaged.
    """
    h5py = needed("h5py")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FullyConvError(f"{path}: the .mat file is damaged or cut short ({error})") from error


def member(file: Any, names: tuple[str, ...], path: Path) -> Any:
    """A data set in an HDF5 file.

    Raises:
        FullyConvError: If it is not there.
    """
    for name in names:
        if not hasattr(file, "keys") or name not in file:
            raise _no_variable(path, names, file.keys() if hasattr(file, "keys") else ())
        file = file[name]
    return file


def _no_variable(path: Path, names: Iterable[str], held: Iterable[str]) -> FullyConvError:
    return FullyConvError(
        f"{path}: no variable {'.'.join(names)} in this .mat file; it holds "
        f"{', '.join(map(str, held)) or 'nothing'}"
    )


def needed(module: str) -> Any:
    """A module of the extra ``data``.

    Raises:
        FullyConvError: If it is not installed; says how to.
    """
    return optional(module, "data", "to read .mat files")
