"""What a student learns from its teacher is what the papers say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from certify.core.errors import ModelError
from compress.training.distillation import (
    OUTPUT_LOSSES,
    FeatureLoss,
    Taps,
    dist_loss,
    dkd_loss,
    kd_loss,
    stages,
    standardise,
)

LABELS = torch.tensor([0, 2, 1])


def logits(seed: int, outputs: int = 4) -> torch.Tensor:
    return torch.randn(3, outputs, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", OUTPUT_LOSSES)
def test_loss_is_zero_when_the_student_answers_as_the_teacher(method):
    same = logits(0)
    assert float(OUTPUT_LOSSES[method](same, same, LABELS, 4.0)) == pytest.approx(0, abs=1e-5)
    assert float(OUTPUT_LOSSES[method](logits(1), same, LABELS, 4.0)) > 1e-3


@pytest.mark.parametrize("method", OUTPUT_LOSSES)
def test_loss_falls_when_the_student_follows_its_gradient(method):
    student, teacher = logits(1).requires_grad_(), logits(0)
    before = OUTPUT_LOSSES[method](student, teacher, LABELS, 4.0)
    before.backward()
    after = OUTPUT_LOSSES[method](student.detach() - 0.05 * student.grad, teacher, LABELS, 4.0)
    assert after < before.detach()


def test_soften_is_the_explicit_divergence():
    student, teacher = logits(1), logits(0)
    p, q = torch.softmax(teacher / 2, 1), torch.softmax(student / 2, 1)
    wanted = 4 * (p * (p / q).log()).sum(1).mean()
    assert float(kd_loss(student, teacher, LABELS, 2.0)) == pytest.approx(float(wanted), rel=1e-5)


def test_decouple_sums_to_soften_when_the_other_classes_have_the_teachers_weight():
    """Equation 5 of the paper: KD = TCKD + (1 - p_true) NCKD, here for one sample."""
    student, teacher, label = logits(1)[:1], logits(0)[:1], LABELS[:1]
    left = 1 - torch.softmax(teacher, 1)[0, label[0]]
    whole = dkd_loss(student, teacher, label, 1.0)
    kd = kd_loss(student, teacher, label, 1.0)
    p, q = (torch.softmax(x, 1)[0, label[0]] for x in (teacher, student))
    target = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    others = (whole - target) / 8
    assert float(kd) == pytest.approx(float(target + left * others), rel=1e-4)


def test_relate_ignores_the_scale_of_probabilities_when_their_order_agrees():
    """A student with the same proportions around the mean is perfect for DIST within a sample, not for KD."""
    teacher = torch.tensor([[2.0, 1.0, 0.0, 0.0]])
    shares = torch.softmax(teacher, 1)
    flat = (0.5 * shares + 0.5 * shares.mean()).log()
    within = dist_loss(flat, teacher, LABELS[:1], 1.0) - 1  # over one sample there is nothing to correlate
    assert float(within) == pytest.approx(0, abs=1e-4)
    assert float(kd_loss(flat, teacher, LABELS[:1], 1.0)) > 1e-2


def test_standardised_logits_are_the_same_when_shifted_and_scaled():
    raw = logits(0)
    assert torch.allclose(standardise(3 * raw + 5), standardise(raw), atol=1e-5)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x):
        return self.head(torch.relu(self.down(torch.relu(self.stem(x)))).mean((2, 3)))


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def test_stages_are_the_last_maps_of_each_resolution():
    assert stages(Net(4).eval(), IMAGES) == {(8, 8): "stem", (4, 4): "down"}
    assert stages(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), IMAGES) == {}


@pytest.mark.parametrize("kind", ["hint", "attention"])
def test_feature_loss_reaches_every_compared_layer_when_widths_differ(kind):
    torch.manual_seed(0)
    student, teacher = Net(2), Net(4)
    loss = FeatureLoss(kind, student.eval(), teacher.eval(), IMAGES)
    assert [(conv.in_channels, conv.out_channels) for conv in loss.adapters] == (
        [(2, 4), (4, 8)] if kind == "hint" else []
    )
    mine, its = loss.taps(student, teacher)
    with mine, its:
        student(IMAGES)
        with torch.no_grad():
            teacher(IMAGES)
    value = loss(mine, its)
    value.backward()
    assert value.detach() > 0
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (student.stem, student.down))
    assert all(p.grad is None for p in teacher.parameters())


def test_attention_is_zero_when_the_maps_focus_on_the_same_places():
    net = Net(4)
    double = Net(4)
    double.load_state_dict({key: 2 * value for key, value in net.state_dict().items()})
    with Taps(net, ["stem"]) as a, Taps(double, ["stem"]) as b:
        net(IMAGES)
        double(IMAGES)
    loss = FeatureLoss("attention", net.eval(), double.eval(), IMAGES)
    loss.pairs = [("stem", "stem")]
    assert loss(a, b).item() == pytest.approx(0, abs=1e-6)


def test_feature_loss_is_refused_when_no_maps_can_be_compared():
    with pytest.raises(ModelError, match="no feature maps of equal size"):
        FeatureLoss("hint", nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), Net(4), IMAGES)
