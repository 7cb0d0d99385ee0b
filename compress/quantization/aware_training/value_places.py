"""Names for the values that a network computes, from the module and function that produce them."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules import module as modules
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

ACCESSORS = frozenset({"__get__", "__set__"})
"""Reading and setting attributes of tensors, which torch also reports as functions."""


class Walk(TorchFunctionMode):
    """Tracks which part of a model runs, inside the ``with`` block.

    A place is ``path:function:number``: the module, the called torch function, and how often that module called it
    before. The name does not depend on other modules, for example on blocks that are dropped in training. A subclass
    sees every function in its ``__torch_function__``; whatever a function does inside is one step.

    Args:
        model: model whose parts are tracked.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paths = {id(part): path for path, part in model.named_modules()}
        self._running = [""]
        self._counts: dict[str, int] = {}
        self._hooks: list[RemovableHandle] = []

    @property
    def path(self) -> str:
        """Path of the innermost running module."""
        return self._running[-1]

    def place(self, function: str) -> str:
        """Return the place of the next output of ``function`` here."""
        key = f"{self.path}:{function}"
        number = self._counts[key] = self._counts.get(key, -1) + 1
        return f"{key}:{number}"

    def __enter__(self) -> Walk:
        self._hooks = [
            # Use global hooks, which leave the model unchanged, so that it can be copied and saved meanwhile.
            modules.register_module_forward_pre_hook(self._begin),
            modules.register_module_forward_hook(self._end),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _begin(self, part: nn.Module, inputs: Any) -> None:
        # A module that is not a part of the model (created in a forward) counts as its caller.
        self._running.append(self._paths.get(id(part), self.path))

    def _end(self, part: nn.Module, inputs: Any, output: Any) -> None:
        self._running.pop()
