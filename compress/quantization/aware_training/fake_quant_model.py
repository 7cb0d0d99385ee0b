"""A network whose values are rounded where the exported file rounds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import ModelError
from compress.core.targets import IntegerType, Target, choose
from compress.quantization.aware_training.fake_quantize import (
    CODES,
    REDUCED_WEIGHT_CODES,
    WEIGHT_CODES,
    FakeQuantize,
    round_bias,
)
from compress.quantization.aware_training.folding import NORMS, give_biases
from compress.quantization.aware_training.value_places import ACCESSORS, Walk
from compress.quantization.post_training.qdq import Operators

INPUT = ":input:0"
"""Place of the network's input."""
MARKER = "leanmark::Place"
"""Operator that carries a place into the exported graph; it is removed before the file is used."""
LAYERS = frozenset({F.conv1d, F.conv2d, F.conv3d, F.linear})
GATES: Mapping[Any, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    F.silu: ("sigmoid", torch.sigmoid),
    F.hardswish: ("hardsigmoid", F.hardsigmoid),
}
"""Functions x * gate(x), whose two steps are separate operators in the graph."""

Watch = Callable[[str, torch.Tensor], torch.Tensor]
"""Called with the place and value of each rounding; returns the value to continue with."""


@dataclass(frozen=True)
class Site:
    """A value that is rounded.

    Attributes:
        place: place of the value (see :class:`compress.quantization.aware_training.value_places.Walk`).
        shares: place whose step it uses: its own, or that of the value that a pool or a view passes through.
        clips: whether the ReLU or clip that produces it is skipped, because rounding clips at the same ends.
    """

    place: str
    shares: str
    clips: bool = False


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer whose weight is rounded.

    Attributes:
        place: place of its output.
        path: path of the module.
        taken: place of its rounded input.
        bias: whether the bias is a 32-bit integer.
    """

    place: str
    path: str
    taken: str
    bias: bool


@dataclass(frozen=True)
class Rounding:
    """What is rounded in a network, and for which processor; the steps are in the network's state.

    Attributes:
        target: name of the target.
        activation_type: integer type of activations.
        reduce_range: whether weights use only 7 bits.
        per_channel: whether each output channel of a weight has its own step.
        operators: selection of operators (:func:`compress.quantization.post_training.qdq.plan`).
        kept: operators that stay float, by the place of their first output, or by name if it has none.
        folded: convolutions into which a batch norm was folded.
        sites: rounded values.
        layers: layers with rounded weights.
        learn_zeros: whether zero points are learnt.
    """

    target: str
    activation_type: IntegerType
    reduce_range: bool
    per_channel: bool
    operators: Operators
    kept: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    layers: tuple[Layer, ...] = ()
    learn_zeros: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rounding:
        """Read the output of :meth:`to_json`.

        Raises:
            ModelError: a key is missing, unknown or of a wrong kind.
        """
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            plain["sites"] = tuple(Site(**site) for site in plain["sites"])
            plain["layers"] = tuple(Layer(**layer) for layer in plain["layers"])
            return cls(**plain)
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"The record of a quantized model is malformed ({error!r}); save the model again."
            ) from error

    def for_target(self) -> Target:
        """Return the target with these types."""
        return replace(choose(self.target), activation_type=self.activation_type, reduce_range=self.reduce_range)


class FakeQuantModel(nn.Module):
    """A network with fake quantizers, which can be trained and exported to exactly the integers that it computes with.

    The network is traced function by function, so that its own classes are not changed. During export nothing is
    rounded; instead every value is marked with its place, by which
    :mod:`compress.quantization.aware_training.export` finds it in the graph.

    Args:
        model: network with folded batch norms; kept, not copied. Remaining batch norms keep their statistics.
        rounding: what is rounded. Steps are 1 until :meth:`start` or a checkpoint sets them.

    Attributes:
        activations: fake quantizers of values, by :func:`key` of the place whose step they hold.
        weights: fake quantizers of weights, by :func:`key` of the layer's place.
        watch: called with every rounded value, or None.
    """

    def __init__(self, model: nn.Module, rounding: Rounding) -> None:
        super().__init__()
        give_biases(model, rounding.folded)
        self.model = model
        self.rounding = rounding
        self.watch: Watch | None = None
        self._sites = {site.place: site for site in rounding.sites}
        self._layers = {layer.place: layer for layer in rounding.layers}
        self.activations = nn.ModuleDict()
        self.weights = nn.ModuleDict()
        # Steps of 1 keep the state dict complete, so that a checkpoint can be loaded into a new network.
        own = {site.place: (1.0, 0) for site in rounding.sites if site.shares == site.place}
        self.start(own, {layer.place: self._ones(layer) for layer in rounding.layers})

    def _ones(self, layer: Layer) -> torch.Tensor:
        weight = self.model.get_submodule(layer.path).weight
        return torch.ones(len(weight)) if self.rounding.per_channel else torch.tensor(1.0)  # type: ignore[arg-type]

    def start(self, places: Mapping[str, tuple[float, int]], layers: Mapping[str, torch.Tensor]) -> None:
        """Set initial steps.

        Args:
            places: step and zero point by place.
            layers: steps of weights, () or (channels,), by the layer's place.
        """
        low, high = CODES[self.rounding.activation_type]
        learn = self.rounding.learn_zeros
        for place, (step, zero) in places.items():
            self.activations[key(place)] = FakeQuantize(low, high, torch.tensor(step), zero, learn_zero=learn)
        low, high = REDUCED_WEIGHT_CODES if self.rounding.reduce_range else WEIGHT_CODES
        for place, steps in layers.items():
            self.weights[key(place)] = FakeQuantize(low, high, steps)

    def at(self, place: str) -> FakeQuantize:
        """Return the fake quantizer of the value at a place."""
        return self.activations[key(self._sites[place].shares)]  # type: ignore[return-value]

    def of(self, layer: Layer) -> FakeQuantize:
        """Return the fake quantizer of a layer's weight."""
        return self.weights[key(layer.place)]  # type: ignore[return-value]

    def train(self, mode: bool = True) -> FakeQuantModel:
        """Set the mode as for any module, except that batch norms that could not be folded keep their statistics."""
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, NORMS):
                # Statistics of a batch would not be in the exported file.
                module.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the network, with rounded values inside."""
        return self.run(self.model, x)

    def run(self, called: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        """Run the network, or another form of it, with rounding; in float32, which represents every code exactly."""
        steps = _Steps(self, exporting=torch.compiler.is_exporting())
        with _without_autocast(inputs[0].device.type):
            rounded = [steps.value(INPUT, samples) for samples in inputs]
            with steps:
                return called(*rounded)

    def site(self, place: str) -> Site | None:
        """Return the rounding at a place, if any."""
        return self._sites.get(place)

    def layer(self, place: str) -> Layer | None:
        """Return the layer with a rounded weight whose output is at a place, if any."""
        return self._layers.get(place)


def key(place: str) -> str:
    """Return a place as the name of a submodule, which must not contain dots.

    Example:
        >>> key("blocks.0:conv2d:0")
        'blocks/0:conv2d:0'
    """
    return place.replace(".", "/")


class _Steps(Walk):
    """Rounds, or marks, each value of one run."""

    def __init__(self, owner: FakeQuantModel, *, exporting: bool) -> None:
        super().__init__(owner.model)
        self._owner = owner
        self._exporting = exporting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ACCESSORS:
            return func(*args, **kwargs)
        if func in GATES:
            # The exporter writes the gate and the product as two operators, and each of their outputs is rounded.
            gate, how = GATES[func]
            return self.value(self.place(name), args[0] * self.value(self.place(gate), how(args[0])))
        place = self.place(name)
        site = None if self._exporting else self._owner.site(place)
        if site is not None and site.clips:
            # Rounding clips at the same ends, which can then be learnt with the step.
            return self.value(place, args[0] if args else kwargs["input"])
        if func in LAYERS and not self._exporting:
            args, kwargs = self._rounded(place, args, kwargs)
        output = func(*args, **kwargs)
        # Not isinstance, because the constructor of a named tuple takes other arguments.
        if type(output) in (tuple, list):
            return type(output)(self.value(f"{place}.{number}", part) for number, part in enumerate(output))
        return self.value(place, output)

    def value(self, place: str, tensor: Any) -> Any:
        """Return the value that continues from a place."""
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            return tensor
        if self._exporting:
            return torch.onnx.ops.symbolic(
                MARKER, (tensor,), {"place": place}, dtype=tensor.dtype, shape=tensor.shape, version=1
            )
        if self._owner.site(place) is None:
            return tensor
        rounded = self._owner.at(place)(tensor)
        return rounded if self._owner.watch is None else self._owner.watch(place, rounded)

    def _rounded(self, place: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a layer with rounded weight and bias."""
        layer = self._owner.layer(place)
        if layer is None:
            return args, kwargs
        named = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
        weight = self._owner.of(layer)
        bias = named.get("bias")
        if bias is not None and layer.bias:
            bias = round_bias(bias, self._owner.at(layer.taken), weight)
        others = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}
        return (named["input"], weight(named["weight"]), bias, *args[3:]), others


@contextlib.contextmanager
def _without_autocast(device: str) -> Iterator[None]:
    """Disable bfloat16, whose 8 bits would round again; not used during export, where it would show in the graph."""
    if not torch.is_autocast_enabled(device):
        yield
        return
    with torch.autocast(device, enabled=False):
        yield


def take_apart(model: nn.Module) -> tuple[nn.Module, Rounding | None]:
    """Return the network itself, and what is rounded in it; None for a plain network."""
    return (model.model, model.rounding) if isinstance(model, FakeQuantModel) else (model, None)
