from __future__ import annotations

import pytest
import torch

from cluster.training.losses import distillation_loss, labels_loss, token_loss, value_loss


def test_label_smoothing_mixes_the_target_with_all_tokens() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 11), torch.randint(11, (6,))
    log_p = logits.log_softmax(-1)
    wanted = -(0.9 * log_p[torch.arange(6), targets] + 0.1 * log_p.mean(-1)).sum()
    torch.testing.assert_close(token_loss(logits, targets, smoothing=0.1), wanted)


def test_losses_of_parts_add_up() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(10, 5), torch.randint(5, (10,))
    parts = token_loss(logits[:3], targets[:3], smoothing=0.2) + token_loss(logits[3:], targets[3:], smoothing=0.2)
    torch.testing.assert_close(parts, token_loss(logits, targets, smoothing=0.2))
    several = torch.randint(2, (10, 5))
    torch.testing.assert_close(
        labels_loss(logits[:3], several[:3]) + labels_loss(logits[3:], several[3:]), labels_loss(logits, several)
    )


def test_losses_are_computed_in_fp32() -> None:
    logits, targets = torch.randn(4, 7).bfloat16(), torch.randint(7, (4,))
    assert token_loss(logits, targets).dtype == torch.float32
    assert value_loss(logits[:, :1], torch.ones(4)).dtype == torch.float32
    assert distillation_loss(logits, logits, temperature=2.0).dtype == torch.float32


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    teacher = torch.randn(4, 7)
    assert float(distillation_loss(teacher + 3.0, teacher, temperature=2.0)) == pytest.approx(0, abs=1e-5)
    assert float(distillation_loss(torch.zeros(4, 7), teacher, temperature=2.0)) > 0.1


def test_the_gradient_of_distillation_keeps_its_size_at_high_temperatures() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(4, 7)
    sizes = []
    for temperature in (20.0, 40.0):
        student = torch.zeros(4, 7, requires_grad=True)
        distillation_loss(student, teacher, temperature=temperature).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
