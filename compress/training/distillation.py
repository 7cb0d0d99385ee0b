"""Distillation losses between student and teacher: on outputs, and on intermediate feature maps.

Every loss is a mean over the batch. Outputs are logits, float32 (n, outputs); feature maps are (n, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import ModelError

OutputLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(student's logits, teacher's logits, columns of the true classes (n,), temperature) -> scalar."""
DKD_OTHERS = 8.0
"""Weight of the other classes relative to the true one: beta of Zhao et al. 2022, section 4.1, as set for CIFAR."""
# Just above the precision of float32, so that 1 - TINY is below 1.
TINY = 1e-7


def kd_loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute the KL divergence of the softened outputs, times T^2 (Hinton et al. 2015, arXiv 1503.02531).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> float(kd_loss(logits, logits, torch.tensor([0]), temperature=4.0))
        0.0
    """
    soft_student, soft_teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True)


def dkd_loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute the decoupled loss: the true class against the rest, and the rest among itself, weighted separately.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv 2203.08679), equation 7, with alpha 1. In
    Hinton's loss the second part counts for little where the teacher is confident; here its weight is constant.
    """
    true = F.one_hot(labels, student.shape[1]).bool()
    soft = [logits / temperature for logits in (student, teacher)]
    target, others = [], []
    for logits in soft:
        # log(1 - share) is infinite where float32 rounds the share to 1.
        share = F.softmax(logits, dim=1)[true].clamp(TINY, 1 - TINY)
        target.append(torch.stack([share, 1 - share], dim=1).log())
        others.append(F.log_softmax(logits[~true].view(len(logits), -1), dim=1))
    parts = [
        F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)
        for of_student, of_teacher in (target, others)
    ]
    return temperature**2 * (parts[0] + DKD_OTHERS * parts[1])


def dist_loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute one minus Pearson's correlation of the softened outputs, over classes and over samples.

    Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST), NeurIPS 2022 (arXiv 2205.10536),
    equations 8 to 10 with both weights 1: the student need not match the teacher's values, only their order and
    proportions, which a much smaller student can.
    """
    ours, theirs = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * (_unrelated(ours, theirs, 1) + _unrelated(ours, theirs, 0))


def _unrelated(first: torch.Tensor, second: torch.Tensor, dim: int) -> torch.Tensor:
    """Compute one minus Pearson's correlation along a dimension, averaged."""
    centred = [values - values.mean(dim, keepdim=True) for values in (first, second)]
    return 1 - F.cosine_similarity(centred[0], centred[1], dim=dim).mean()


OUTPUT_LOSSES: Mapping[str, OutputLoss] = {"kd": kd_loss, "dkd": dkd_loss, "dist": dist_loss}


def standardise(logits: torch.Tensor) -> torch.Tensor:
    """Standardise the logits of each sample to mean 0 and deviation 1 (Sun et al., CVPR 2024, arXiv 2403.01427).

    The student then follows the teacher's ranking, at any scale of its own logits.
    """
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + TINY)


class Taps:
    """Records the outputs of some modules of a model while it runs; a context manager.

    Args:
        model: model whose modules are recorded.
        names: names of the modules; None for all.
    """

    def __init__(self, model: nn.Module, names: list[str] | None = None) -> None:
        self.maps: dict[str, torch.Tensor] = {}
        self._hooks = [
            module.register_forward_hook(self._keep(name))
            for name, module in model.named_modules()
            if (name in names if names is not None else name)
        ]

    def _keep(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                # Remove it first, because a dict keeps the position of a key that is assigned again.
                self.maps.pop(name, None)
                self.maps[name] = output  # in order of completion

        return hook

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()


def stages(model: nn.Module, images: torch.Tensor) -> dict[tuple[int, int], str]:
    """Return the last module of each resolution above 1 x 1: (H, W) of its feature maps -> its name."""
    with torch.no_grad(), Taps(model) as taps:
        model(images)
    last = {(maps.shape[2], maps.shape[3]): name for name, maps in taps.maps.items()}
    return {size: name for size, name in last.items() if size != (1, 1)}


class FeatureLoss(nn.Module):
    """Distance between the feature maps of student and teacher at equal resolutions.

    ``hint``: the student's maps, mapped to the teacher's channels by a learned 1 x 1 convolution, against the
    teacher's: mean squared error over the teacher's mean square (Romero et al., "FitNets", ICLR 2015, arXiv
    1412.6550, equation 3, made independent of the maps' scale). ``attention``: squared distance of the normalised
    spatial maps of squared activations (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928, equation 2).

    Args:
        kind: ``hint`` or ``attention``.
        student: model in evaluation mode, on the CPU.
        teacher: likewise.
        images: one batch for finding the maps.

    Raises:
        ModelError: the two have no resolution in common.
    """

    def __init__(self, kind: str, student: nn.Module, teacher: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        ours, theirs = stages(student, images), stages(teacher, images)
        self.pairs = [(ours[size], theirs[size]) for size in ours if size in theirs]
        if not self.pairs:
            raise ModelError(f"Teacher and student have no feature maps of equal size; do not use features={kind}.")
        self.kind = kind
        self.adapters = nn.ModuleList()
        if kind == "hint":
            with torch.no_grad(), Taps(student) as mine, Taps(teacher) as its:
                student(images)
                teacher(images)
            widths = [(mine.maps[a].shape[1], its.maps[b].shape[1]) for a, b in self.pairs]
            self.adapters.extend(nn.Conv2d(narrow, wide, 1) for narrow, wide in widths)

    def taps(self, student: nn.Module, teacher: nn.Module) -> tuple[Taps, Taps]:
        """Return recorders of the compared modules of both models."""
        return Taps(student, [a for a, _ in self.pairs]), Taps(teacher, [b for _, b in self.pairs])

    def forward(self, student: Taps, teacher: Taps) -> torch.Tensor:
        """Return the mean distance of the pairs of maps recorded in the last run of both models."""
        losses = [
            self._distance(number, student.maps[a].float(), teacher.maps[b].float())
            for number, (a, b) in enumerate(self.pairs)
        ]
        return torch.stack(losses).mean()

    def _distance(self, number: int, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        if self.kind == "hint":
            return F.mse_loss(self.adapters[number](ours), theirs) / (theirs.square().mean() + TINY)
        where = [F.normalize(maps.square().mean(1).flatten(1), dim=1) for maps in (ours, theirs)]
        return (where[0] - where[1]).square().sum(1).mean()
