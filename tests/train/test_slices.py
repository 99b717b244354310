"""Training slices: size, augmentation, targets, and an order that is the same for any number of processes."""

import numpy as np
import pytest
import torch

from calibeval.errors import UsageError
from calibeval.train.augment import AUGMENTATIONS, augment_slice
from calibeval.train.config import make_config
from calibeval.train.losses import SDCLoss
from calibeval.train.slices import EpochOrder, SliceSet, Ticket, fit_to_size, make_loader, pieces_of
from calibeval.train.volumes import Volume

IGNORED = 255


def volume(slices=5, height=20, width=14, channels=1, seed=0):
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, (slices, height, width)).astype(np.uint8)
    image = np.repeat(label[:, None].astype(np.float32), channels, axis=1)
    return Volume(f"case{seed}", image, label, None)


def slice_set(augment="basic", seed=7, size=(16, 16)):
    return SliceSet([volume(), volume(seed=1)], size=size, ignore_index=IGNORED, augment=augment, seed=seed)


def loader(workers=0, **settings):
    return make_loader(slice_set(**settings), EpochOrder(10, 4, seed=1), SDCLoss(ignore_index=IGNORED), 3, workers)


def test_crop_and_pad_by_hand():
    label = torch.arange(12).reshape(3, 4)
    image = label[None].float() + 1
    cut_image, cut_label = fit_to_size(image, label, (5, 2), IGNORED, None)
    assert cut_label.tolist() == [[IGNORED] * 2, [1, 2], [5, 6], [9, 10], [IGNORED] * 2]
    assert cut_image[0].tolist() == [[2, 2], [2, 3], [6, 7], [10, 11], [2, 2]]  # padded with the smallest value left


def test_random_crops_differ_and_stay_inside():
    label = torch.arange(400).reshape(20, 20)
    random = np.random.default_rng(0)
    corners = {fit_to_size(label[None].float(), label, (8, 8), IGNORED, random)[1][0, 0].item() for _ in range(40)}
    assert len(corners) > 10 and max(corners) <= 12 * 20 + 12


def test_augmentation_moves_image_and_label_alike():
    """The image is its own label, so after any affine map it still is, up to interpolation at the edges."""
    label = torch.zeros(48, 32, dtype=torch.long)
    label[10:30, 8:20] = 1
    random = np.random.default_rng(3)
    seen = []
    for _ in range(20):
        image, moved = augment_slice(label[None].float(), label, IGNORED, random)
        known = moved != IGNORED
        low, high = image[0][known].min(), image[0][known].max()
        agree = ((image[0] > (low + high) / 2) == (moved == 1))[known]
        assert agree.float().mean() > 0.98
        assert set(moved.unique().tolist()) <= {0, 1, IGNORED}
        seen.append(moved)
    assert sum(torch.equal(seen[0], other) for other in seen[1:]) == 0


def test_turning_an_oblong_slice_keeps_its_shape():
    """A square of voxels stays a square, not a rhombus: areas change by the zoom alone."""
    label = torch.zeros(64, 32, dtype=torch.long)
    label[24:40, 8:24] = 1
    random = np.random.default_rng(0)
    for _ in range(20):
        _, moved = augment_slice(torch.zeros(1, 64, 32), label, IGNORED, random)
        assert 256 * 0.9**2 * 0.9 < (moved == 1).sum() < 256 * 1.1**2 * 1.1


@pytest.mark.parametrize("name", ["basic", "nnunet"])
@pytest.mark.parametrize("shape", [(48, 32), (12, 40, 32)])
def test_every_augmentation_moves_image_and_label_alike(name, shape):
    """A bright box is its own label; the seed alone decides; what comes in from outside is ignored."""
    label = torch.zeros(shape, dtype=torch.long)
    label[..., 10:30, 8:20] = 1
    change, agreements, moved = AUGMENTATIONS[name](len(shape)), [], []
    for seed in range(12):
        image, new = change(10 * label[None].float(), label, IGNORED, np.random.default_rng(seed))
        again = change(10 * label[None].float(), label, IGNORED, np.random.default_rng(seed))
        assert torch.equal(image, again[0]) and torch.equal(new, again[1])
        assert type(image) is type(new) is torch.Tensor and image.dtype == torch.float32 and new.dtype == torch.int64
        assert image.shape == (1, *shape) and set(new.unique().tolist()) <= {0, 1, IGNORED}
        known = new != IGNORED
        middle = (image[0][known].max() + image[0][known].min()) / 2
        agreements.append(((image[0] > middle) == (new == 1))[known].float().mean())
        moved.append(new)
    assert np.median(agreements) > 0.97
    assert sum(not torch.equal(moved[0], other) for other in moved[1:]) >= 8


def test_names_of_augmentations_are_those_of_the_configuration():
    for name in AUGMENTATIONS:
        make_config("", data="d", out="o", augment=name)
    with pytest.raises(UsageError, match=f"Known: {', '.join(AUGMENTATIONS)}"):
        make_config("", data="d", out="o", augment="other")


def patch_set(volumes, augment="none", size=(8, 16, 16)):
    return SliceSet(volumes, size=size, ignore_index=IGNORED, augment=augment, seed=7)


def test_patches_cover_a_volume_and_lie_at_random():
    """20 x 20 x 14 voxels in patches of 8 x 16 x 16: three times two times one."""
    volumes = [volume(slices=20), volume(slices=8, seed=1)]
    assert pieces_of(volumes, (8, 16, 16)) == [(0, None)] * 6 + [(1, None)] * 2
    patches = patch_set(volumes)
    places = {patches[Ticket(0, 0, position)]["label"][0, 0, 5].item() for position in range(1, 30)}
    assert len(patches) == 8 and len(places) > 1
    batch = patches[Ticket(7, 1, 4)]
    assert batch["image"].shape == (1, 8, 16, 16) and batch["label"].shape == (8, 16, 16)
    known = batch["label"] != IGNORED
    assert torch.equal(batch["image"][0][known], batch["label"][known].float())
    torch.testing.assert_close(batch, patches[Ticket(7, 1, 4)], rtol=0, atol=0)


def test_every_third_patch_holds_foreground():
    """One voxel of class 2 in a corner of a large empty volume, which random patches hardly ever hold."""
    label = np.zeros((64, 64, 64), np.uint8)
    label[60, 3, 40] = 2
    label[0, 0] = IGNORED
    patches = patch_set([Volume("v", label[:, None].astype(np.float32), label, None)], size=(16, 16, 16))
    held = [(patches[Ticket(0, 0, position)]["label"] == 2).any().item() for position in range(12)]
    assert all(held[::3]) and sum(held) < 8
    empty = Volume("e", np.zeros((16, 1, 16, 16), np.float32), np.zeros((16, 16, 16), np.uint8), None)
    assert patch_set([empty], size=(16, 16, 16))[Ticket(0, 0, 0)]["label"].sum() == 0


def test_targets_follow_the_augmented_labels():
    batch = next(iter(loader()))
    expected = SDCLoss(ignore_index=IGNORED).targets(batch["label"], 3)
    assert set(batch) == {"image", "label", "neighbours", "sdf"}
    for name, target in expected.items():
        torch.testing.assert_close(batch[name], target, rtol=0, atol=0)


def test_a_slice_depends_on_its_ticket_alone():
    first, again = slice_set()[Ticket(3, 2, 11)], slice_set()[Ticket(3, 2, 11)]
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for other in (Ticket(3, 3, 11), Ticket(3, 2, 12)):
        assert not torch.equal(first["image"], slice_set()[other]["image"])
    assert not torch.equal(first["image"], slice_set(seed=8)[Ticket(3, 2, 11)]["image"])
    plain = slice_set(augment="none")
    torch.testing.assert_close(plain[Ticket(3, 2, 11)], plain[Ticket(3, 5, 0)], rtol=0, atol=0)


def batches(order):
    return [[ticket.slice_number for ticket in batch] for batch in order]


def test_every_slice_comes_once_and_the_last_batch_is_full():
    order = EpochOrder(10, 4, seed=1)
    drawn = batches(order)
    assert [len(batch) for batch in drawn] == [4, 4, 4] == [4] * len(order)
    flat = [number for batch in drawn for number in batch]
    assert sorted(flat[:10]) == list(range(10)) and flat[10:] == flat[:2]


def test_epochs_and_seeds_differ():
    order, other = EpochOrder(50, 10, seed=1), EpochOrder(50, 10, seed=2)
    first = batches(order)
    order.go_to(1, 0)
    assert batches(order) != first != batches(other)
    order.go_to(0, 0)
    assert batches(order) == first
    order.go_to(0, 3)
    assert batches(order) == first[3:]


def test_processes_share_each_batch():
    whole = batches(EpochOrder(10, 4, seed=1))
    parts = [batches(EpochOrder(10, 4, seed=1, rank=rank, world=2)) for rank in range(2)]
    for batch, even, odd in zip(whole, *parts, strict=True):
        assert sorted(even + odd) == sorted(batch)


def test_a_fixed_order_repeats_itself():
    order = EpochOrder(6, 4, seed=1, fixed=True)
    assert batches(order) == [[0, 1, 2, 3], [4, 5, 0, 1]]
    first = list(order)
    order.go_to(5, 0)
    assert list(order) == first


def test_workers_change_nothing():
    torch.testing.assert_close(list(loader()), list(loader(workers=1)), rtol=0, atol=0)
