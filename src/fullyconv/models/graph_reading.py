"""Reading a traced classifier: where its feature maps are, and what must change to slide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import fx, nn

from fullyconv.errors import FullyConvError
from fullyconv.models import calls
from fullyconv.models.called_layers import LAYER_FUNCTIONS, as_layer
from fullyconv.models.last_layers import (
    batch_norm_2d,
    linear_as_convolution,
    sliding_average,
    sliding_maximum,
)
from fullyconv.models.layers import POINTWISE
from fullyconv.models.traced import LocalAverage

WholeMap = Literal["refuse", "global", "local"]


@dataclass(frozen=True)
class Place:
    """What a tensor in the graph is, for the example.

    Attributes:
        size: Height and width of the feature map; of a flattened one, before it was.
        spatial: Which dimensions of the tensor are its rows and columns; empty if flattened.
        pools: Global poolings that it comes from, if it has no extent of its own.
    """

    size: tuple[int, int]
    spatial: tuple[int, ...] = (2, 3)
    pools: frozenset[fx.Node] = frozenset()


class Reading:
    """Follows the feature maps through a graph and collects the changes to make.

    Args:
        module: The graph and its layers.
        shapes: Shape of each node's tensor for the example.
        unchanged: Nodes that gave what they were given.
        padded: Pad convolutions that were fully connected layers.
        whole_map: What to do with operations that take in the whole map.

    Attributes:
        places: What each node's tensor is; only those that come from the images.
        changes: The layer to put in a node's place; None to leave it out.
        tail: Where the classifier's own last layers begin: its global pooling, or its last fully
            connected layer. None if it has neither.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        shapes: dict[fx.Node, tuple[int, ...]],
        unchanged: set[fx.Node],
        padded: bool,
        whole_map: WholeMap,
    ) -> None:
        self.module, self.shapes, self.unchanged = module, shapes, unchanged
        self.padded, self.whole_map = padded, whole_map
        self.places: dict[fx.Node, Place] = {}
        self.changes: dict[fx.Node, nn.Module | None] = {}
        self._pools: dict[fx.Node, nn.Module] = {}  # with the sliding pooling to put there
        self._linear: fx.Node | None = None
        self.tail: fx.Node | None = None

    def read(self) -> None:
        """Follow the graph from the images to the scores.

        Raises:
            FullyConvError: If something in it cannot be converted; the layer is named.
        """
        for node in self.module.graph.nodes:
            if node.op == "placeholder" and not self.places:  # others are options left out
                self.places[node] = Place(self._size(node, (2, 3)))
                continue
            given = [n for n in node.all_input_nodes if n in self.places]
            if not given:
                continue
            if node.op == "output":
                self._finish(node)
            elif node.op == "call_module":
                self.places[node] = self._layer(node, self.module.get_submodule(str(node.target)))
            else:
                place = self._function(node, calls.name(node), given)
                if place is not None:
                    self.places[node] = place

    def _finish(self, node: fx.Node) -> None:
        sources = node.all_input_nodes
        if len(sources) != 1 or not isinstance(node.args[0], fx.Node):
            raise self._refusal(
                node, "gives several results; give the part of it that gives the scores"
            )
        order = list(self.module.graph.nodes)
        pools = sorted(self.places[sources[0]].pools, key=order.index)
        for pool in pools:
            self.changes[pool] = self._pools[pool]
        self.tail = pools[0] if pools else self._linear

    # Layers

    def _layer(self, node: fx.Node, layer: nn.Module) -> Place:
        source, *others = (n for n in node.all_input_nodes if n in self.places)
        if others:
            raise self._refusal(node, "is a layer of several inputs")
        place = self.places[source]
        if isinstance(layer, nn.Linear):
            return self._linear_layer(node, layer, place)
        if isinstance(layer, nn.BatchNorm1d) and not place.spatial:
            self.changes[node] = batch_norm_2d(layer)
            return place
        if isinstance(layer, nn.Flatten):
            return self._flattened(node, place)
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return self._adaptive(node, place, sliding_average)
        if isinstance(layer, nn.AdaptiveMaxPool2d):
            return self._adaptive(node, place, sliding_maximum)
        if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d | nn.Conv2d | nn.ZeroPad2d):
            return self._window(node, layer, place)
        if isinstance(layer, nn.GroupNorm | nn.InstanceNorm2d):
            return self._whole_map_norm(node, place)
        if isinstance(layer, nn.LayerNorm):
            return self._layer_norm(node, len(layer.normalized_shape), place)
        if isinstance(layer, nn.Softmax | nn.LogSoftmax):
            return self._over_channels(node, layer.dim, place)
        if isinstance(layer, (*POINTWISE, nn.Softmax2d, nn.ChannelShuffle)):
            return place
        raise self._refusal(node, "has no fully convolutional form here")

    def _window(self, node: fx.Node, layer: nn.Module, place: Place) -> Place:
        if place.spatial != (2, 3) or len(self.shapes[node]) != 4:
            raise self._refusal(
                node, "slides over a map whose rows and columns are not its last two"
            )
        size = self._size(node, (2, 3))
        pooling = isinstance(layer, nn.AvgPool2d | nn.MaxPool2d)
        if pooling and size == (1, 1) and place.size != size and layer.padding in (0, (0, 0)):
            sliding = sliding_average if isinstance(layer, nn.AvgPool2d) else sliding_maximum
            return self._pooled(node, place, sliding, (2, 3))
        return replace(place, size=size)

    def _linear_layer(self, node: fx.Node, layer: nn.Linear, place: Place) -> Place:
        if place.spatial:
            last = len(self.shapes[node]) - 1
            if last in place.spatial:
                raise self._refusal(
                    node, "mixes the columns of a map, which differ in number by size"
                )
            return place
        self.changes[node] = linear_as_convolution(layer, place.size, padded=self.padded)
        if not place.pools:
            self._linear = node
        return replace(place, size=(1, 1))

    def _adaptive(self, node: fx.Node, place: Place, sliding: Callable[..., nn.Module]) -> Place:
        size = self._size(node, (2, 3))
        if size == place.size:
            self.changes[node] = None
            return place
        if size != (1, 1):
            raise self._refusal(
                node, f"pools a map of {place.size} to {size}, whose windows depend on the size"
            )
        return self._pooled(node, place, sliding, (2, 3))

    def _pooled(
        self, node: fx.Node, place: Place, sliding: Callable[..., nn.Module], spatial: Sequence[int]
    ) -> Place:
        """What a global pooling gives; whether it slides is known where it ends up."""
        self._pools[node] = sliding(place.size)
        return Place((1, 1), tuple(spatial), place.pools | {node})

    def _whole_map_norm(self, node: fx.Node, place: Place) -> Place:
        if self.whole_map != "global" and place.size != (1, 1):
            advice = 'whole_map="global" leaves it as it is'
            raise self._refusal(
                node, f"normalises by the whole map, which grows with the picture; {advice}"
            )
        return place

    def _layer_norm(self, node: fx.Node, dimensions: int, place: Place) -> Place:
        normalised = range(len(self.shapes[node]) - dimensions, len(self.shapes[node]))
        if any(d in normalised for d in place.spatial):
            raise self._refusal(node, "normalises over rows and columns of a fixed number")
        return place

    def _over_channels(self, node: fx.Node, dim: int | None, place: Place) -> Place:
        count = len(self.shapes[node])
        if dim is None or dim % count in place.spatial:
            raise self._refusal(node, "is an attention over cells, of a fixed number")
        return place

    # Functions

    def _function(self, node: fx.Node, name: str, given: list[fx.Node]) -> Place | None:
        place = self.places[given[0]]
        if name in calls.SIZES or (node not in self.shapes and name not in ("chunk", "split")):
            return None
        if name in calls.JOINING or name in calls.SIDE_BY_SIDE:
            return self._joined(node, name)
        if len(given) > 1 and not (name == "expand_as" and place.size == (1, 1)):
            raise self._refusal(node, f"joins maps by {name}")
        if name in calls.RESHAPING:
            return self._reshaped(node, name, place)
        if name in calls.REARRANGING:
            return self._rearranged(node, name, place)
        if name in calls.POOLING:
            return self._pooled_by_function(node, name, place)
        if name in LAYER_FUNCTIONS:
            return self._layer_function(node, name, place)
        if name in ("group_norm", "instance_norm"):
            return self._whole_map_norm(node, place)
        if name == "layer_norm":
            return self._layer_norm(node, len(node.args[1]), place)  # type: ignore[arg-type]
        if name in ("softmax", "log_softmax"):
            return self._over_channels(node, calls.dimension(node, 1, None), place)
        if name in calls.ELEMENTWISE or node in self.unchanged:
            return place
        raise self._refusal(node, f"uses {name}, which has no fully convolutional form here")

    def _joined(self, node: fx.Node, name: str) -> Place:
        maps = [self.places[n] for n in node.all_input_nodes if n in self.places]
        for other in node.all_input_nodes:
            if other not in self.places and other in self.shapes:
                self._check_parameter(node, self.shapes[other], maps[0])
        whole = [place for place in maps if place.size != (1, 1)]
        if not whole:
            return replace(maps[0], pools=frozenset().union(*(m.pools for m in maps)))
        if any(place.spatial != whole[0].spatial or place.size != whole[0].size for place in whole):
            raise self._refusal(node, "joins maps of different sizes")
        if "cat" in name and calls.dimension(node, 1, 0) in whole[0].spatial:
            raise self._refusal(node, "puts maps side by side")
        for pool in frozenset().union(*(place.pools for place in maps)):
            self._squeezed(node, pool)
        return whole[0]

    def _squeezed(self, node: fx.Node, pool: fx.Node) -> None:
        """A global pooling meets a map again: squeeze-and-excitation."""
        if self.whole_map == "refuse":
            raise self._refusal(
                node,
                "weighs a map by an average over all of it (squeeze-and-excitation), which no cell "
                'of a larger picture sees; whole_map="global" averages over whatever picture there '
                'is, whole_map="local" over windows of the example\'s size',
            )
        sliding = self._pools[pool]
        if self.whole_map == "local":
            assert isinstance(sliding, nn.AvgPool2d | nn.MaxPool2d)
            self.changes[pool] = LocalAverage(sliding.kernel_size)  # type: ignore[arg-type]
        elif self.places[pool].spatial != (2, 3):
            self.changes[pool] = nn.AdaptiveAvgPool2d(1)

    def _check_parameter(self, node: fx.Node, shape: tuple[int, ...], place: Place) -> None:
        count = len(self.shapes[node])
        for d in place.spatial:
            behind = d - count + len(shape)  # where it lies in the parameter, if it does
            if behind >= 0 and shape[behind] != 1:
                raise self._refusal(node, f"adds parameters of a fixed grid of cells, {shape}")

    def _reshaped(self, node: fx.Node, name: str, place: Place) -> Place:
        shape, given = self.shapes[node], self.shapes[node.all_input_nodes[0]]
        if place.size == (1, 1) or not place.spatial:  # stays (N, C, 1, 1) in truth
            self.changes[node] = None
            return replace(place, spatial=(2, 3) if len(shape) == 4 else ())
        if shape == given:
            return place
        if len(shape) == 2:
            return self._flattened(node, place)
        trailing = (len(shape) - 2, len(shape) - 1)
        if shape[-2:] == place.size and place.spatial == (len(given) - 2, len(given) - 1):
            return replace(place, spatial=trailing)
        raise self._refusal(
            node, f"turns a map of {given} into {shape}, whose cells have a fixed number"
        )

    def _flattened(self, node: fx.Node, place: Place) -> Place:
        given = self.shapes[node.all_input_nodes[0]]
        if place.spatial not in ((), (2, 3)) or (place.spatial and len(given) != 4):
            raise self._refusal(node, f"flattens a map of {given} whose channels do not come first")
        if len(self.shapes[node]) != 2:
            raise self._refusal(node, "turns a map into tokens, whose number is fixed")
        self.changes[node] = None
        return replace(place, spatial=())

    def _rearranged(self, node: fx.Node, name: str, place: Place) -> Place | None:
        if name in calls.CUTTING:
            dim = calls.dimension(node, calls.CUTTING[name], 0)
            if dim in place.spatial or not isinstance(dim, int):
                raise self._refusal(node, "cuts a map into parts")
            return place
        if name == "getitem":
            index = node.args[1]
            cut = index if isinstance(index, tuple) else (index,)
            kept = [i for i, part in enumerate(cut) if part == slice(None)]
            if isinstance(index, int) or all(d in kept or d >= len(cut) for d in place.spatial):
                return place
            raise self._refusal(node, "cuts a part out of a map")
        if len(self.shapes[node]) == 2 or not place.spatial:
            raise self._refusal(node, "transposes what was flattened")
        order = list(range(len(self.shapes[node])))
        arguments = [d % len(order) for d in calls.dimensions(node.args[1:])]
        if name == "permute":
            order = arguments
        else:
            a, b = arguments
            order[a], order[b] = order[b], order[a]
        return replace(place, spatial=tuple(order.index(d) for d in place.spatial))

    def _pooled_by_function(self, node: fx.Node, name: str, place: Place) -> Place:
        if name != "mean":
            return self._adaptive(
                node, place, sliding_maximum if "max" in name else sliding_average
            )
        count = len(self.shapes[node.all_input_nodes[0]])
        dims = calls.dimension(node, 1, None)
        over = {d % count for d in calls.dimensions([dims])}
        if over != set(place.spatial) or place.spatial != (2, 3):
            raise self._refusal(node, f"averages over the dimensions {dims}")
        keeps = len(self.shapes[node]) == 4
        return self._pooled(node, place, sliding_average, (2, 3) if keeps else ())

    def _layer_function(self, node: fx.Node, name: str, place: Place) -> Place:
        try:
            layer = as_layer(node, name, self.module)
        except ValueError as error:
            raise self._refusal(node, str(error)) from error
        if isinstance(layer, nn.Linear):
            return self._linear_layer(node, layer, place)
        after = self._window(node, layer, place)
        if node not in after.pools:
            self.changes[node] = layer
        return after

    def _size(self, node: fx.Node, spatial: Sequence[int]) -> tuple[int, int]:
        rows, columns = (self.shapes[node][d] for d in spatial)
        return rows, columns

    def _refusal(self, node: fx.Node, what: str) -> FullyConvError:
        layer = str(node.target) if node.op == "call_module" else node.meta.get("layer", "")
        kind = type(self.module.get_submodule(layer)).__name__ if layer and self._has(layer) else ""
        named = f"layer {layer}{f' ({kind})' if kind else ''}" if layer else "its forward"
        return FullyConvError(f"this classifier cannot be made fully convolutional: {named} {what}")

    def _has(self, layer: str) -> bool:
        return any(name == layer for name, _ in self.module.named_modules())
