"""The cost table of a model's blocks on this machine, on its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from certify.core.errors import UsageError
from certify.core.progress import Progress, job, shown
from certify.data import Dataset, Preprocess, load
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import CostTable
from compress.costs.groups import find_narrowable
from compress.costs.shipped_form import Precision, formats_of
from compress.costs.table_maker import SAMPLES, table_maker
from compress.costs.timing import Conditions
from compress.job.context import make_context
from compress.job.original import Request, find_original
from compress.passes.structured_prune import StructuredPrune


@job("Making the table", when_stopped="Without --fresh, the same command continues after the last measured block.")
def cost_table(
    model: str | Path | nn.Module,
    data: str | Dataset | None = None,
    *,
    precision: Precision = "int8",
    threads: int = 1,
    runtime: str = "onnxruntime-cpu",
    weights: str | Path | None = None,
    preprocess: Preprocess | Path | Mapping[str, Any] | object | None = None,
    seed: int = 0,
    target: str | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    progress: Progress | bool | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> CostTable:
    """Measure what the blocks of a model cost at each width, in the precision that ships.

    Args:
        model: name of a torchvision model, ``package.module:factory``, or an ``nn.Module``.
        data: data specification or data set, as for :func:`compress.run`; whole models are run on samples of it.
        precision: ``float``, or ``int8`` for 8-bit weights and activations.
        threads: threads of the runtime.
        runtime: runtime for ONNX files.
        weights: safetensors or state-dict file, or torchvision's name of weights; costs hardly depend on them.
        preprocess: preprocessing contract or some of its fields, as for :func:`compress.run`.
        seed: seed of random weights.
        target: kind of processor, which determines the integer types; this machine's by default.
        cache: cache folder; the user's by default.
        fresh: whether to measure everything again.
        progress: where to report progress.
        model_args: arguments of the factory besides the number of classes.

    Raises:
        UsageError: a name is unknown, or the model is a file where a torch module is needed.
        ModelError: the model, or one of its blocks, cannot be exported or quantized.
        MeasureError: a measurement failed.

    Example:
        >>> import compress
        >>> table = compress.cost_table("resnet18", precision="int8")  # doctest: +SKIP
        >>> table.whole.duration_s  # doctest: +SKIP
    """
    progress = shown(progress)
    request = Request(model, None if weights is None else str(weights), preprocess, seed, model_args)
    dataset = load(request.data(data), seed=seed, progress=progress)
    original = find_original(request, dataset, progress)
    if original.module is None:
        raise UsageError(
            f"A cost table needs a torch module, whose blocks can be narrowed, but {original.spec} is an ONNX file; "
            "give the network that it was exported from, as package.module:factory."
        )
    context = make_context(original, dataset, target=target, progress=progress, seed=seed)
    formats = formats_of(context.target) if precision == "int8" else ()
    found = find_narrowable(StructuredPrune().settings(), original.module, context, formats=formats)
    maker = table_maker(Conditions(runtime, threads), precision, context, CostCache(cache, fresh))
    return maker.make(found.model, found.items, context.preprocess, context.samples(SAMPLES))
