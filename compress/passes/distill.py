"""Recovery training with a teacher."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from certify.core.errors import UsageError
from certify.data import load
from compress import models
from compress.core.context import PassContext
from compress.core.further_data import FurtherData
from compress.core.pass_protocol import PassRecord, PassTags
from compress.passes.group_options import GroupOptions

if TYPE_CHECKING:
    from torch import nn

    from certify.data import Split
    from compress.models.built_model import BuiltModel, ModelSource
    from compress.training.optimization import Hooks

ORIGINAL = "original"


class Distill(GroupOptions):
    """Train the compressed model on a teacher's softened outputs as well as the true labels.

    The loss is `cross-entropy + alpha * method(student, teacher) + feature_weight * features(student, teacher)`. The
    teacher is the untouched original, or any other model with weights. The student is the model from the previous
    passes, or a new one of any other architecture. The learning rate warms up and then follows a cosine. The weights
    returned are those of the best epoch on validation data; test data is never seen.

    Papers: `kd` Hinton, Vinyals and Dean 2015 (arXiv 1503.02531); `dkd` Zhao et al. 2022 (arXiv 2203.08679); `dist`
    Huang et al. 2022 (arXiv 2205.10536), for much stronger teachers; `standardise` Sun et al. 2024 (arXiv
    2403.01427); `hint` Romero et al. 2015 (arXiv 1412.6550); `attention` Zagoruyko and Komodakis 2017 (arXiv
    1612.03928); the cosine Loshchilov and Hutter 2017 (arXiv 1608.03983).

    `adversarial` trains on images that an attack changed by a few grey levels, which costs accuracy on clean ones; the
    record holds both. `pgd` (Madry et al. 2018, arXiv 1706.06083) computes that many extra gradients per step; `free`
    (Shafahi et al. 2019, arXiv 1904.12843) trains that many steps on every batch instead. Random defences are not
    offered: they hide gradients and do not withstand attacks (Athalye et al. 2018, arXiv 1802.00420).

    `balance`, `worst_group` (Sagawa et al. 2020, arXiv 1911.08731) and `forget` (gradient reversal, Ganin and Lempitsky
    2015, arXiv 1409.7495) are remedies for groups of people, and none is recommended by default. Seen on Adult income:
    more epochs of plain distillation removed every shown loss of a group; `forget: sex` narrowed the gap of false
    positives by 3.7 points, but raised men's false negatives by 7.6 points and Black people's by 7.8 [0.7, 16.5].
    Compare all groups afterwards (`leanmark fairness`). With `forget`, the record states how well a linear probe still
    predicts the attribute.

    When not to use it: without train samples, or where the training data differs from what the original was trained on
    (the student forgets what the data does not show). `features` is refused for networks without feature maps, such as
    vision transformers.

    Example:
        >>> Distill(method="dkd", epochs=8).temperature
        4.0
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 2
    tags: ClassVar[PassTags] = PassTags(quick={"epochs": 1})

    method: Literal["kd", "dkd", "dist"] = Field(default="kd", description="Loss between student and teacher outputs.")
    alpha: float = Field(
        default=1.0, ge=0, le=1000, description="Weight of the teacher's outputs, relative to the labels."
    )
    temperature: float = Field(default=4.0, ge=1, le=100, description="Temperature that softens the outputs.")
    standardise: bool = Field(
        default=False, description="Whether logits are first standardised to mean 0, deviation 1."
    )
    features: Literal["none", "hint", "attention"] = Field(
        default="none", description="How feature maps of equal resolution are compared."
    )
    feature_weight: float = Field(default=1.0, ge=0, le=100_000, description="Weight of the feature map loss.")
    teacher: str = Field(
        default=ORIGINAL, description="The original, or a model by name (torchvision's, or package.module:f)."
    )
    teacher_weights: str | None = Field(
        default=None, description="Weights of another teacher: a file, or a torchvision name."
    )
    student: str | None = Field(
        default=None, description="Architecture to train in place of the current model, by name."
    )
    student_weights: str | None = Field(default=None, description="Initial weights of the student. Default: random.")
    unlabelled: str | None = Field(
        default=None, description="Specification of extra data: its train images are learnt from teacher outputs alone."
    )

    @property
    def further_data(self) -> FurtherData | None:
        """See :attr:`Pass.further_data`."""
        return None if self.unlabelled is None else FurtherData(self.unlabelled, "unlabelled")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: train samples, validation samples, the teacher or its weights are missing.
            DataError: unlabelled samples cannot be read, or are test samples.
            ModelError: the loss is not finite, or the shapes of outputs or feature maps do not match.
        """
        student = copy.deepcopy(model) if self.student is None else self._student(context).model
        record = self.teach(student, context)
        more = {"teacher": self.teacher, **({} if self.student is None else {"student": self.student})}
        return student, PassRecord({**record.done, **more}, record.declined)

    def teach(self, student: nn.Module, context: PassContext, hooks: Hooks | None = None) -> PassRecord:
        """Train a model in place, where :meth:`apply` trains a copy; ``hooks`` are called inside each step."""
        names = ("method", "alpha", "temperature", "standardise", "features", "feature_weight")
        settings = {
            "label_smoothing": 0.0,
            **{name: getattr(self, name) for name in names},
            **self._attacks(),
            **self._remedies(),
        }
        teacher, unlabelled = self._teacher(context), self._unlabelled(context)
        record = self._train(student, context, settings, "Distilling", teacher, unlabelled, hooks)
        more = {**self._under_attack(student, context), **self._groups_after(student, context)}
        return PassRecord({**record.done, **more}, record.declined)

    def source(self, current: ModelSource | None, context: PassContext) -> ModelSource | None:
        """See :meth:`TorchPass.source`."""
        return current if self.student is None else self._student(context).source

    def _student(self, context: PassContext) -> BuiltModel:
        return self._built(self.student or "", self.student_weights, context)

    def _built(self, spec: str, weights: str | None, context: PassContext) -> BuiltModel:
        data = context.data
        return models.build(spec, len(data.classes), weights, data.class_map, context.seed, context.progress)

    def _teacher(self, context: PassContext) -> nn.Module:
        if self.teacher == ORIGINAL:
            if context.teacher is None:
                raise UsageError("distill needs the original as its teacher, and this job has none; remove the pass.")
            return context.teacher
        built = self._built(self.teacher, self.teacher_weights, context)
        if built.needs_training:
            raise UsageError(
                f"The teacher {self.teacher} has no weights for the {len(context.data.classes)} classes of the data, "
                "so it cannot teach; give teacher_weights."
            )
        return models.adapt_input(built, context.preprocess)

    def _unlabelled(self, context: PassContext) -> Split | None:
        further = self.further_data
        if further is None:
            return None
        split = further.train_part(load(further.spec, seed=context.seed, progress=context.progress))
        # Even without labels, they would show the student how the teacher classifies the test samples.
        further.require_apart(split, {"test": context.test_digests})
        return split
