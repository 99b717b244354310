"""Networks: shapes, sizes, and refusals."""

import numpy as np
import pytest
import torch

from calibeval.errors import UsageError
from calibeval.train.models import BACKBONES, Network, build_network
from calibeval.train.predict import Predictor


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 5)])
def test_logits_for_every_pixel(backbone, channels, classes):
    divisor = BACKBONES[backbone].divisor
    network = build_network(Network(backbone, 4, channels, classes)).eval()
    assert network(torch.zeros(2, channels, divisor, 2 * divisor)).shape == (2, classes, divisor, 2 * divisor)


@pytest.mark.parametrize("backbone", ["unet", "dynunet"])
def test_logits_for_every_voxel(backbone):
    """The smallest patch trains, whole volumes are predicted, and every weight has a gradient."""
    kind = BACKBONES[backbone]
    network = build_network(Network(backbone, 4, 2, 3, dim=3))
    size = (kind.smallest, kind.smallest, kind.smallest + kind.divisor)
    logits = network(torch.randn(1, 2, *size))
    assert logits.shape == (1, 3, *size)
    logits.square().mean().backward()
    assert all(each.grad is not None for each in network.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_smallest_slice_trains_and_predicts(backbone):
    """A batch of one slice, of the smallest size: no layer is left with a single value to normalise by."""
    kind = BACKBONES[backbone]
    assert [kind.fit(length) for length in (1, kind.smallest, kind.smallest + 1)] == [
        kind.smallest, kind.smallest, kind.smallest + kind.divisor
    ]  # fmt: skip
    network = build_network(Network(backbone, 4, 1, 3))
    network(torch.randn(1, 1, kind.smallest, kind.smallest)).sum().backward()
    tiny = np.zeros((2, 1, 5, 3), np.float32)
    assert Predictor(network, kind, (0, 0), torch.device("cpu"), batch_size=1)(tiny).shape == (2, 3, 5, 3)


def test_published_size_of_the_nacl_network():
    network = build_network(Network("unet-nacl", BACKBONES["unet-nacl"].width, 1, 4))
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(7.85e6, rel=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_has_a_gradient(backbone):
    network = build_network(Network(backbone, 4, 1, 3))
    size = 2 * BACKBONES[backbone].divisor
    network(torch.randn(2, 1, size, size)).square().mean().backward()
    assert all(each.grad is not None for each in network.parameters())


def test_refusals():
    with pytest.raises(UsageError, match="Known: unet, unet-nacl, dynunet"):
        build_network(Network("vnet", 8, 1, 2))
    for network in (Network("unet", 8, 0, 2), Network("unet", 8, 1, 1), Network("unet", 0, 1, 2)):
        with pytest.raises(UsageError, match="at least 1 channel, 2 classes"):
            build_network(network)
