"""Which outputs and inputs of the original's layers are left in a pruned network, followed as they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class Provenance:
    """Numbers of the outputs that each layer has kept, and the layers that lost inputs."""

    def __init__(self) -> None:
        self._outputs: dict[str, torch.Tensor] = {}
        self._inputs: set[str] = set()

    @property
    def outputs(self) -> Mapping[str, torch.Tensor]:
        """For each layer that lost outputs, by path, the original's numbers of those that are left."""
        return self._outputs

    @property
    def inputs(self) -> frozenset[str]:
        """Paths of the layers that lost inputs."""
        return frozenset(self._inputs)

    def keep_outputs(self, path: str, kept: torch.Tensor) -> None:
        """Note that a layer keeps some of the outputs that it has now.

        Args:
            path: of the layer.
            kept: (n,) their numbers now.
        """
        self._outputs[path] = self._outputs[path][kept] if path in self._outputs else kept

    def remove_outputs(self, path: str, gone: Sequence[int], width: int) -> None:
        """Note that a layer loses some of the ``width`` outputs that it has now."""
        left = torch.ones(width, dtype=torch.bool)
        left[list(gone)] = False
        self.keep_outputs(path, left.nonzero().flatten())

    def lose_inputs(self, path: str) -> None:
        """Note that a layer loses inputs."""
        self._inputs.add(path)
