"""Rewriting a traced classifier into one that slides over pictures of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fullyconv.errors import FullyConvError
from fullyconv.models.geometry import CoordMap
from fullyconv.models.graph_reading import Reading, WholeMap
from fullyconv.models.traced import Misaligned, Traced


class _Tracer(fx.Tracer):
    """Traces down to PyTorch's own layers, and knows in which layer it is."""

    def __init__(self) -> None:
        super().__init__()
        self.path = [""]

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.path.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.path.pop()  # where it fails, the innermost layer stays at the end
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["layer"] = self.path[-1]
        return node


class _Run(fx.Interpreter):
    """Runs a graph on an example and keeps each node's shape, and whether it changed anything."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.unchanged: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> object:
        """Run one node; what it gives is not kept."""
        result: object = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
            given = [self.env[node] for node in n.all_input_nodes]
            if n.op != "output" and len(given) == 1 and isinstance(given[0], Tensor):
                same = given[0].shape == result.shape and torch.equal(given[0], result)
                self.unchanged.update([n] if same else [])
        return result


@dataclass(frozen=True)
class Rewritten:
    """A classifier as one graph of convolutions.

    Attributes:
        module: The graph and its layers.
        cuts: Nodes through which everything flows, in order, up to the features.
        maps: Where each node's cells lie along rows.
        columns: Where they lie along columns.
        shapes: Of each node's tensor for the example.
        output: The last node: scores.
    """

    module: fx.GraphModule
    cuts: tuple[fx.Node, ...]
    maps: dict[fx.Node, CoordMap]
    columns: dict[fx.Node, CoordMap]
    shapes: dict[fx.Node, tuple[int, ...]]
    output: fx.Node

    @property
    def input(self) -> fx.Node:
        """The node of the images."""
        node: fx.Node = next(iter(self.module.graph.nodes))
        return node

    def is_even(self, node: fx.Node) -> bool:
        """Whether a node's rows and columns lie on like grids."""
        a, b = self.maps[node], self.columns[node]
        return (a.stride, a.start) == (b.stride, b.start)

    def piece(self, begin: fx.Node, end: fx.Node) -> fx.GraphModule:
        """What lies between two cuts, as a graph of its own: (N, C, h, w) in and out."""
        graph = fx.Graph()
        copies = {begin: graph.placeholder("x")}
        nodes = list(self.module.graph.nodes)
        needed = set(_ancestors(end, begin))
        for node in nodes[nodes.index(begin) + 1 :]:
            if node in needed:
                copies[node] = graph.node_copy(node, lambda n: copies[n])
        graph.output(copies[end])
        return fx.GraphModule(self.module, graph)


def rewrite(
    model: nn.Module, example: Tensor, padded: bool, whole_map: WholeMap, misaligned: Misaligned
) -> Rewritten:
    """Trace a classifier and make it fully convolutional.

    Args:
        model: The classifier, in evaluation mode; its layers are taken over and changed.
        example: Images (N, C, H, W) of the size that it was made for.
        padded: Pad convolutions that were fully connected layers by half their side.
        whole_map: See :func:`~fullyconv.models.convolutionalize.convolutionalize`.
        misaligned: See there.

    Raises:
        FullyConvError: If it cannot be traced or converted; the layer is named.
    """
    module = _traced(model)
    run = _Run(module)
    try:
        with torch.no_grad():
            run.run(example)
    except Exception as error:  # somebody's code may raise anything
        raise FullyConvError(
            f"the classifier fails on an example of {tuple(example.shape)} ({_line(error)}); "
            "example_size must be the size that it was made for"
        ) from error
    reading = Reading(module, run.shapes, run.unchanged, padded, whole_map)
    reading.read()
    tail = _apply(module, reading)
    module.graph.eliminate_dead_code()
    module.recompile()
    run = _Run(module)
    with torch.no_grad():
        run.run(example)
    rows, columns = (Traced(module, misaligned).walk(CoordMap(), axis) for axis in (0, 1))
    end = next(n for n in module.graph.nodes if n.op == "output")
    cuts = _cuts(module.graph, tail or end)
    return Rewritten(module, tuple(cuts), rows, columns, run.shapes, end.all_input_nodes[0])


def _traced(model: nn.Module) -> fx.GraphModule:
    for part in model.modules():  # a tap must not be changed by the layer behind it
        if hasattr(part, "inplace"):
            part.inplace = False  # type: ignore[assignment]
    tracer = _Tracer()
    try:
        return _one_layer_each(fx.GraphModule(model, tracer.trace(model)))
    except Exception as error:  # somebody's code may raise anything
        layer = tracer.path[-1]
        where = f"its layer {layer} ({type(model.get_submodule(layer)).__name__})" if layer else ""
        raise FullyConvError(
            f"{type(model).__name__} cannot be traced: {where or 'its forward'} decides by what it "
            f"is given ({_line(error)}); such a layer must be written without conditions on sizes "
            "or values"
        ) from error


def _one_layer_each(module: fx.GraphModule) -> fx.GraphModule:
    """Layers without weights that run at several places, such as one pooling, become several."""
    seen: set[object] = set()
    for node in module.graph.nodes:
        if node.op == "call_module":
            layer = module.get_submodule(node.target)
            if node.target in seen and not list(layer.parameters()):
                node.target = f"{node.target}_{node.name}"
                module.add_submodule(node.target, deepcopy(layer))
            seen.add(node.target)
    return module


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _apply(module: fx.GraphModule, reading: Reading) -> fx.Node | None:
    """Make the changes; returns where the classifier's own last layers begin, if they do."""
    tail = reading.tail
    for number, (node, layer) in enumerate(reading.changes.items()):
        new = source = node.all_input_nodes[0]
        if layer is not None:
            name = f"{str(node.target) if node.op == 'call_module' else node.name}_{number}"
            module.add_submodule(name, layer)
            with module.graph.inserting_before(node):
                new = module.graph.call_module(name, (source,))
        node.replace_all_uses_with(new)
        if tail is node:
            tail = new
    for node in module.graph.nodes:
        _out_of_place(node)
    return tail


def _out_of_place(node: fx.Node) -> None:
    """A node that writes into its input, as one that does not."""
    if "inplace" in node.kwargs:
        node.update_kwarg("inplace", False)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.op == "call_method" and name.endswith("_") and hasattr(Tensor, name[:-1]):
        node.target = name[:-1]
    elif node.op == "call_function" and name in ("iadd", "imul", "isub", "itruediv"):
        node.target = getattr(torch, {"itruediv": "div"}.get(name, name[1:]))
    elif node.op == "call_function" and name.endswith("_") and hasattr(torch, name[:-1]):
        node.target = getattr(torch, name[:-1])


def _cuts(graph: fx.Graph, end: fx.Node) -> Iterator[fx.Node]:
    """Nodes through which everything flows, of those before ``end``."""
    order = {node: number for number, node in enumerate(graph.nodes)}
    reach = 0
    for node, number in order.items():
        if node is end:
            return
        if reach <= number and node.op != "placeholder":
            yield node
        reach = max([reach, *(order[user] for user in node.users)])


def _ancestors(node: fx.Node, begin: fx.Node) -> Iterator[fx.Node]:
    """A node and all that it is computed from, up to another."""
    waiting, seen = [node], {begin}
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            yield current
            waiting += current.all_input_nodes
