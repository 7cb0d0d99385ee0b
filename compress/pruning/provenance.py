"""Tracking of the original's outputs and inputs that remain in a pruned network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class Provenance:
    """Indices of the outputs that each layer has kept, and the layers that lost inputs."""

    def __init__(self) -> None:
        self._outputs: dict[str, torch.Tensor] = {}
        self._inputs: set[str] = set()

    @property
    def outputs(self) -> Mapping[str, torch.Tensor]:
        """For each layer that lost outputs, by path, the original indices of the remaining ones."""
        return self._outputs

    @property
    def inputs(self) -> frozenset[str]:
        """Paths of the layers that lost inputs."""
        return frozenset(self._inputs)

    def keep_outputs(self, path: str, kept: torch.Tensor) -> None:
        """Record that a layer keeps some of its current outputs.

        Args:
            path: path of the layer.
            kept: (n,) their current indices.
        """
        # Indices of a later round refer to what the earlier ones left.
        self._outputs[path] = self._outputs[path][kept] if path in self._outputs else kept

    def remove_outputs(self, path: str, gone: Sequence[int], width: int) -> None:
        """Record that a layer loses some of its current ``width`` outputs."""
        left = torch.ones(width, dtype=torch.bool)
        left[list(gone)] = False
        self.keep_outputs(path, left.nonzero().flatten())

    def lose_inputs(self, path: str) -> None:
        """Record that a layer loses inputs."""
        self._inputs.add(path)
