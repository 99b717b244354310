"""The SDC authors' released code: reproduced to the bit, and shown to point the wrong way."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from calibeval.phantom import make_case
from calibeval.train.losses import ReleasedMbLSLoss, ReleasedSVLSLoss, SDCLoss, build_loss
from calibeval.train.released import released_distance, released_neighbours

# What the released code itself gave for `released_example`, with OpenCV 5.0 and torch 2.13.
GOLDEN = {
    "sdc": 2.3476006984710693,
    "sdc3d": 2.3453776836395264,
    "svls": 2.3525867462158203,
    "mbls": 2.3293545246124268,
}


def released_example():
    """Labels of a phantom (the last slice with one class absent) and logits that every platform gives alike."""
    labels = torch.from_numpy(make_case(1).label[[0, 2, 4, 7]].astype(np.int64))
    labels[3][labels[3] == 1] = 0
    count = torch.arange(4 * 4 * 64 * 64).reshape(4, 4, 64, 64)
    return ((count * 7919) % 2039).float() / 256 - 4, labels


def released_authors():
    with pytest.warns(UserWarning, match="wrong sign"):
        return build_loss("sdc:authors")


def test_authors_loss_is_the_released_value_to_the_bit():
    logits, labels = released_example()
    assert released_authors()(logits, labels).item() == GOLDEN["sdc"]
    assert released_authors()(logits[:2].movedim(0, 1)[None].contiguous(), labels[:2][None]).item() == GOLDEN["sdc3d"]
    assert ReleasedSVLSLoss()(logits, labels).item() == pytest.approx(GOLDEN["svls"], rel=3e-7)
    assert ReleasedMbLSLoss()(logits, labels).item() == pytest.approx(GOLDEN["mbls"], rel=3e-7)


def test_authors_loss_by_its_formula():
    logits, labels = released_example()
    p = logits.softmax(dim=1)
    cross = np.stack([(labels.numpy() == c).astype(np.float64) for c in range(4)], axis=1)
    box = (1, 1, 3, 3)
    edges = ndimage.grey_dilation(cross, box, mode="nearest") - ndimage.grey_erosion(cross, box, mode="nearest")
    near = ndimage.uniform_filter(edges, box, mode="mirror")
    near /= np.maximum(near.sum(axis=1, keepdims=True), 1e-6)
    distance = np.stack([[_normalised(mask) for mask in image] for image in cross > 0])
    expected = (
        functional.cross_entropy(logits, labels).item()
        + 0.1 * np.abs(p.numpy() - near).mean()
        + 0.1 * np.abs(2 * p.numpy() - 1 - distance).mean() / 100
    )
    assert released_authors()(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def _normalised(mask):
    signed = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return signed / (np.abs(signed).max() + 1e-6)


def test_neighbours_treat_slices_apart():
    _, labels = released_example()
    volume = released_neighbours(labels[None], 4, "mean", "gradient")
    torch.testing.assert_close(volume[0].transpose(0, 1), released_neighbours(labels, 4, "mean", "gradient"))


def sdf_term(loss, logits, labels):
    return loss.terms(logits, labels)["sdf"]


def quality_logits(labels, size):
    """Logits that are right for size > 0 and wrong, every class equally, for size < 0."""
    return size * functional.one_hot(labels, 4).movedim(-1, 1).float()


def test_released_distance_term_grows_towards_the_reference():
    _, labels = released_example()
    labels = labels[:3]
    ours, theirs = SDCLoss(), released_authors()
    values = {
        name: [sdf_term(loss, quality_logits(labels, size), labels).item() for size in (20.0, 0.0, -20.0)]
        for name, loss in (("ours", ours), ("theirs", theirs))
    }
    perfect, uniform, inverted = values["ours"]
    assert perfect < uniform < inverted
    perfect, uniform, inverted = values["theirs"]
    assert perfect > uniform and perfect > inverted


@pytest.mark.parametrize(("confidence", "released", "ours"), [(0.25, -0.48, 0.94), (0.97, -1.0, 0.58)])
def test_released_distance_gradient_opposes_cross_entropy(confidence, released, ours):
    """Cosine with the gradient of CE, where p_y is `confidence` everywhere and the other classes share the rest."""
    _, labels = released_example()
    logits = quality_logits(labels[:3], np.log(3 * confidence / (1 - confidence))).requires_grad_()
    for loss, expected in ((released_authors(), released), (SDCLoss(), ours)):
        terms = loss.terms(logits, labels[:3])
        cross, sdf = (
            torch.autograd.grad(terms[name], logits, retain_graph=True)[0].flatten() for name in ("ce", "sdf")
        )
        assert functional.cosine_similarity(cross, sdf, dim=0).item() == pytest.approx(expected, abs=0.02)


def dice_after_training_on(loss, labels):
    """Mean foreground DSC of free logits that follow the distance term alone."""
    logits = torch.zeros(len(labels), 4, 64, 64, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.2)
    targets = loss.targets(labels, 4)
    for _ in range(80):
        optimiser.zero_grad()
        loss.terms(logits, labels, targets)["sdf"].backward()
        optimiser.step()
    found = logits.argmax(dim=1)
    overlap = [
        (2 * ((found == c) & (labels == c)).sum() / ((found == c).sum() + (labels == c).sum())) for c in (1, 2, 3)
    ]
    return torch.stack(overlap).mean().item()


def test_distance_term_alone_finds_the_reference_and_the_released_one_does_not():
    _, labels = released_example()
    assert dice_after_training_on(SDCLoss(), labels[:3]) > 0.99
    assert dice_after_training_on(build_loss("sdc:logit"), labels[:3]) > 0.99
    assert dice_after_training_on(released_authors(), labels[:3]) < 0.2


def test_flipping_the_released_sign_would_not_be_enough():
    """Normalised by its maximum, the distance asks a thin structure's inside for little more than p = 1/2."""
    _, labels = released_example()
    wanted = (1 - released_distance(labels[:3], 4)[:, 2]) / 2
    assert wanted[labels[:3] == 2].median() < 0.6
