"""The ncnn engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.runtimes.ncnn_folder import PARAM, WEIGHTS, NcnnFolder, read_ncnn_folder
from fullyconv.runtimes.runtime import Maps
from fullyconv.runtimes.threads import processors


class NcnnRuntime:
    """A network that ncnn runs, layer by layer and only those that are needed.

    Args:
        folder: As :func:`~fullyconv.runtimes.ncnn_writer.write_ncnn` writes it.
        threads: Of the processor; as many as this process may use without.

    Attributes:
        plan: The network's geometry.
        folder: What its folder says.
        streams: Runs that :meth:`side_by_side` does at once.

    Raises:
        FullyConvError: If ncnn is not installed or does not read the files.
    """

    def __init__(
        self,
        folder: NcnnFolder,
        threads: int | None = None,
    ) -> None:
        self.folder, self.plan, self.streams = folder, folder.plan, threads or processors()
        self._ncnn = optional("ncnn", "deploy")
        self._memory, self._scratch = self._ncnn.PoolAllocator(), self._ncnn.PoolAllocator()
        self._net = self._ncnn.Net()
        options = self._net.opt
        options.num_threads = self.streams
        options.use_vulkan_compute = False
        # ncnn would round maps to 16 bits where the processor can. The tiles of fc6 do not bear it
        # (bfloat16: NaN), and on x86 it is slower: 2.1 s for 1.4 s (VGG16, 375 x 500, one core)
        options.use_fp16_storage = options.use_fp16_packed = options.use_fp16_arithmetic = False
        options.use_bf16_storage = options.use_bf16_packed = False
        read = self._net.load_param(str(folder.path / PARAM)) == 0
        missing = set(folder.blobs) - {blob.name for blob in self._net.blobs()} if read else ()
        if missing:
            raise FullyConvError(
                f"{folder.path / PARAM}: there is no blob {', '.join(sorted(missing))}, of which "
                "fullyconv.json says that there is; export it again"
            )
        if not read or self._net.load_model(str(folder.path / WEIGHTS)) != 0:
            raise FullyConvError(
                f"{folder.path}: ncnn {self._ncnn.__version__} does not read these files; export "
                "them again"
            )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        threads: int | None = None,
    ) -> NcnnRuntime:
        """Engine for an exported folder.

        Raises:
            FullyConvError: As :func:`~fullyconv.runtimes.ncnn_folder.read_ncnn_folder`, or as the
                class.
        """
        return cls(read_ncnn_folder(path), threads)

    def run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Compute maps of a network from other ones, as every engine does; also ``logits``.

        Raises:
            FullyConvError: If there is too little memory, the images are not of the one size that
                the network was written for, or the maps not those that it takes.
        """
        self._check_given(given, wanted)
        maps = {name: np.ascontiguousarray(array, np.float32) for name, array in given.items()}
        height, width = maps["images"].shape[-2:] if "images" in maps else (0, 0)
        if "images" in maps:
            maps["images"] = self._whole(maps["images"])
        count = len(next(iter(maps.values())))
        made = [self._run({k: v[i] for k, v in maps.items()}, wanted) for i in range(count)]
        results = {name: np.stack([one[name] for one in made]) for name in wanted}
        if "logits" in results:
            results["logits"] = results["logits"][..., :height, :width]
        return results

    def side_by_side(self) -> AbstractContextManager[NcnnRuntime]:
        """The same network for ``streams`` threads at once, as every engine gives it."""
        return nullcontext(self if self.streams == 1 else NcnnRuntime(self.folder, threads=1))

    def _check_given(self, given: Maps, wanted: Sequence[str]) -> None:
        """Where a map lacks or is another's, ncnn stops the process or reads beyond its memory."""
        blobs = self.folder.blobs
        for name, array in given.items():
            if name in blobs and (
                array.ndim != 4 or array.shape[1] != blobs[name].channels or not array.size
            ):
                raise FullyConvError(
                    f"{name} of shape {array.shape} was given; this network takes (N, "
                    f"{blobs[name].channels}, height, width)"
                )
        for name in (*given, *wanted):
            if name not in blobs or not self._follows(name, given):
                raise FullyConvError(
                    f"{name} cannot be made from {', '.join(given) or 'nothing'} by this network, "
                    f"whose maps are {', '.join(blobs)}"
                )

    def _follows(self, name: str, given: Maps) -> bool:
        """Whether a map can be made from those that are given."""
        needs = self.folder.blobs[name].needs
        return name in given or (bool(needs) and all(self._follows(n, given) for n in needs))

    def _whole(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images (N, C, H, W), padded below and to the right to a size that the network takes."""
        folder, shape = self.folder, images.shape[-2:]
        if folder.size not in (None, shape):
            raise FullyConvError(
                f"{folder.path} was exported for pictures of {folder.size[0]} x {folder.size[1]} "
                f"pixels, this one has {shape[0]} x {shape[1]}; export it without --size"
            )
        more = [
            max(folder.smallest, -(-count // folder.multiple) * folder.multiple) - count
            for count in shape
        ]
        if not any(more):
            return images
        return np.pad(images, ((0, 0), (0, 0), (0, more[0]), (0, more[1])))

    def _run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Maps (C, h, w) of one picture."""
        extractor = self._net.create_extractor()
        # memory is used again from layer to layer, instead of asking the system for it each time
        extractor.set_blob_allocator(self._memory)
        extractor.set_workspace_allocator(self._scratch)
        for name, array in given.items():
            # a copy: layers that work in place would write into the caller's array
            self._check(extractor.input(name, self._ncnn.Mat(array).clone()), name, given)
        made = {}
        # ncnn forgets maps once they were read: those that are made first are taken first
        for name in sorted(wanted, key=[*self.folder.blobs].index):
            status, mat = extractor.extract(name)
            # a map smaller than a kernel has negative sizes, and no error
            small = status == 0 and min(mat.c, mat.h, mat.w) < 1
            self._check(-1 if small else status, name, given)
            made[name] = np.array(mat)
        return made

    def _check(self, status: int, name: str, given: Maps) -> None:
        if status != 0:
            sizes = ", ".join(f"{key} of shape {array.shape}" for key, array in given.items())
            raise FullyConvError(
                f"ncnn cannot make {name} from {sizes} (its error {status}): too little memory, or "
                "other maps than the network's; label large pictures in tiles (--tiles)"
            )
