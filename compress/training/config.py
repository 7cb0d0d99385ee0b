"""Training config: frozen, and validated on creation."""

from __future__ import annotations

from dataclasses import dataclass

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from compress.training.adversary import KINDS
from compress.training.distillation import OUTPUT_LOSSES

OPTIMIZERS = ("adamw", "sgd")
FEATURES = ("none", "hint", "attention")
KEPT = ("best", "last")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training.

    Attributes:
        epochs: passes over the training data.
        batch: samples per step.
        lr: peak learning rate.
        weight_decay: decay of weights with two or more dimensions; biases and normalisation have none.
        optimizer: ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016).
        warmup: share of the steps in which the learning rate rises from 0; afterwards it falls as a half cosine.
        method: loss on the outputs: ``kd``, ``dkd`` or ``dist`` (see :mod:`compress.training.distillation`).
        temperature: temperature of teacher's and student's logits (T of Hinton et al. 2015).
        standardise: whether the logits of both are first standardised to mean 0 and deviation 1.
        alpha: weight of the teacher's part of the loss; unused without a teacher.
        features: loss on the feature maps: ``hint``, ``attention`` or ``none``.
        feature_weight: weight of that loss.
        keep: epoch whose weights are returned: the ``best`` on validation data, or the ``last``.
        augment: whether images are shifted by up to 1/16 of their side.
        flip: whether half of them are also mirrored; wrong for digits and letters.
        adversarial: adversarial training: ``none``, ``pgd`` or ``free`` (:mod:`compress.training.adversary`).
        adversarial_eps: maximum change, in grey levels.
        adversarial_steps: gradient steps per attack; for ``free``, training steps per batch.
        balance: column of groups; all cells of group and label are drawn equally often (see
            :mod:`compress.training.remedies`, as for the next three).
        worst_group: column of groups; the loss on labels is weighted towards the group that does worst.
        forget: column of groups that the inputs of the last linear layer should not predict.
        forget_strength: factor of the reversed gradient.

    Raises:
        UsageError: a value is out of range.

    Example:
        >>> TrainingConfig(epochs=3).optimizer
        'adamw'
    """

    epochs: int = 16
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    optimizer: str = "adamw"
    label_smoothing: float = 0.05
    warmup: float = 0.15
    method: str = "kd"
    temperature: float = 4.0
    standardise: bool = False
    alpha: float = 1.0
    features: str = "none"
    feature_weight: float = 1.0
    keep: str = "best"
    augment: bool = True
    flip: bool = False
    adversarial: str = "none"
    adversarial_eps: float = 2.0
    adversarial_steps: int = 4
    balance: str | None = None
    worst_group: str | None = None
    forget: str | None = None
    forget_strength: float = 1.0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("distillation method", self.method, OUTPUT_LOSSES),
            ("loss on features", self.features, FEATURES),
            ("epoch to keep", self.keep, KEPT),
            ("adversarial training", self.adversarial, KINDS),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        for name, fits, needed in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch", self.batch >= 2, "at least 2"),
            ("lr", self.lr > 0, "above 0"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("warmup", 0 <= self.warmup < 1, "at least 0 and below 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("alpha", self.alpha >= 0, "at least 0"),
            ("feature_weight", self.feature_weight >= 0, "at least 0"),
            ("adversarial_eps", 0 < self.adversarial_eps <= 64, "above 0 and at most 64"),
            ("adversarial_steps", self.adversarial_steps >= 1, "at least 1"),
            ("forget_strength", self.forget_strength > 0, "above 0"),
        ):
            if not fits:
                raise UsageError(f"The '{name}' parameter of training must be {needed}, got {getattr(self, name)}.")
        if len(columns := {self.balance, self.worst_group, self.forget} - {None}) > 1:
            raise UsageError(
                "The 'balance', 'worst_group' and 'forget' parameters of training must name the same column, got "
                f"{', '.join(sorted(map(str, columns)))}."
            )

    @property
    def groups(self) -> str | None:
        """Column of groups that a remedy needs; None without a remedy."""
        return self.balance or self.worst_group or self.forget
