"""Changes of a float model before rounding, chosen from the values of its channels: smoothing and outlier channels.

The changed model computes the same, so what was recorded of the model before it was changed tells what the values are
afterwards: some are divided by factors, some lose channels, and the others stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from compress.core.pass_protocol import Declined
from compress.onnx_graph.graph import Array, Graph
from compress.quantization.post_training.channel_ends import ChannelRecorder
from compress.quantization.post_training.outlier_channels import products_with_outliers, readers_of_rows, split_off
from compress.quantization.post_training.ranges import ValueStatistics
from compress.quantization.post_training.smoothing import SmoothingSite, find_sites, smooth, smoothing_factors


@dataclass(frozen=True)
class Candidates:
    """What may be changed.

    Attributes:
        sites: LayerNorms that can be smoothed.
        declined: why others cannot.
        rows: products whose inputs may have outlier channels.
    """

    sites: Sequence[SmoothingSite]
    declined: tuple[Declined, ...]
    rows: Sequence[onnx.NodeProto]

    @classmethod
    def of(cls, graph: Graph, *, smooths: bool, splits: bool) -> Candidates:
        """Find them in a float model."""
        sites, declined = find_sites(graph) if smooths else ([], ())
        return cls(sites, declined, readers_of_rows(graph) if splits else [])

    def channels(self, graph: Graph) -> dict[str, int]:
        """Return the values whose channels must be known, with the number of these."""
        found = {node.input[0]: int(graph.tensors[node.input[1]].dims[0]) for node in self.rows}
        for site in self.sites:
            read = (site.norm.output[0], *(product.input[0] for product in site.products))
            found |= dict.fromkeys(read, site.channels)
        return found


@dataclass(frozen=True)
class FloatChanges:
    """What was changed.

    Attributes:
        float_nodes: names of inserted nodes, which must stay float.
        divided: for values that are divided, by their name afterwards: the name before, and the factors.
        factors: the factors by the name of each product that reads such a value.
        stale: values between divided norms and their products, which changed too.
        left_out: channels that do not count for a range, by the value's name.
        notes: notes for the record.
    """

    float_nodes: tuple[str, ...] = ()
    divided: dict[str, tuple[str, Array]] = field(default_factory=dict)
    factors: dict[str, Array] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()
    notes: dict[str, Any] = field(default_factory=dict)

    def known(
        self, names: Sequence[str], ends: ChannelRecorder, others: Mapping[str, ValueStatistics]
    ) -> dict[str, ValueStatistics]:
        """Return the statistics of values of the changed model, from those of the model before; some may be missing."""
        found = {}
        for name in names:
            if name in self.divided:
                found[name] = ends.statistics(*self.divided[name])
            elif name in self.stale:
                continue
            elif name in ends.channels:
                found[name] = ends.statistics(name, left_out=self.left_out.get(name, ()))
            elif name in others:
                found[name] = others[name]
        return found

    def means(self, before: Mapping[str, Array]) -> dict[str, Array]:
        """Return the mean inputs of operators, (1, channels) or a map, from those before."""
        return {name: mean / self.factors[name] if name in self.factors else mean for name, mean in before.items()}


def change(graph: Graph, found: Candidates, largest: Mapping[str, Array], alpha: float, outliers: int) -> FloatChanges:
    """Smooth, and split outlier channels off, in place.

    Args:
        graph: the float model; its index does not include the inserted nodes afterwards.
        found: what may be changed.
        largest: by value, (channels,) the largest absolute values.
        alpha: migration strength of SmoothQuant.
        outliers: most outlier channels of a product.
    """
    notes: dict[str, Any] = {}
    before = {product.name: product.input[0] for site in found.sites for product in site.products}
    apart = products_with_outliers(graph, largest, outliers, list(before))
    left_out = {node.input[0]: apart[node.name] for node in found.rows if node.name in apart}
    norms = {site.norm.output[0]: site for site in found.sites}
    by = {name: smoothing_factors(graph, site, largest[name], alpha) for name, site in norms.items()}
    factors = {product.name: by[name] for name, site in norms.items() for product in site.products}
    stale = frozenset(name for site in found.sites if site.alone for name in _behind(graph, site))
    inserted = smooth(graph, found.sites, by)
    divided = {
        product.input[0]: (before[product.name], factors[product.name])
        for site in found.sites for product in site.products
    }  # fmt: skip
    if found.sites or found.declined:
        notes |= {"smoothed": len(found.sites), "smoothing_multiplications": len(inserted)}
    if apart:
        inserted += split_off(graph, apart)
        notes["outlier_channels"] = apart
    return FloatChanges(inserted, divided, factors, left_out, stale, notes)


def _behind(graph: Graph, site: SmoothingSite) -> Iterator[str]:
    """Yield the values from a norm's output to what its products read."""
    for product in site.products:
        name = product.input[0]
        while name != site.norm.output[0]:
            yield name
            name = graph.producers[name].input[0]
    yield site.norm.output[0]
