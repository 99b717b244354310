"""The networks by name: from images (B, channels, *spatial) to logits (B, classes, *spatial), 2-D or 3-D.

Spatial sizes must be what `Backbone.fit` gives; `calibeval.train.predict` pads slices to that and crops again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from calibeval.errors import MissingExtraError, UsageError


class Network(NamedTuple):
    """What a network is rebuilt from; stored in every checkpoint."""

    backbone: str
    width: int
    channels: int
    classes: int
    dim: int = 2


class Backbone(NamedTuple):
    """A kind of network.

    Attributes:
        build: makes one.
        width: filters at full resolution, unless chosen otherwise.
        divisor: what each side must be a multiple of.
        smallest: side; normalisation needs more than one value at the lowest resolution.
        about: one line, of the 2-D network.
    """

    build: Callable[[Network], nn.Module]
    width: int
    divisor: int
    smallest: int
    about: str

    def fit(self, length: int) -> int:
        """Smallest side that the network takes and that holds `length` pixels."""
        return max(self.smallest, -(-length // self.divisor) * self.divisor)


def build_network(network: Network) -> nn.Module:
    """Make the network with fresh weights.

    Raises:
        UsageError: an unknown backbone, or less than one channel, two classes or one filter.
        MissingExtraError: `dynunet` without monai.
    """
    if network.backbone not in BACKBONES:
        raise UsageError(f"Unknown backbone {network.backbone!r}. Known: {', '.join(BACKBONES)}.")
    if network.channels < 1 or network.classes < 2 or network.width < 1:
        raise UsageError(f"A network needs at least 1 channel, 2 classes and width 1: {network}.")
    return BACKBONES[network.backbone].build(network)


class _Layers(NamedTuple):
    """The layers of one dimension."""

    conv: type[nn.Conv2d | nn.Conv3d]
    norm: type[nn.BatchNorm2d | nn.BatchNorm3d]
    pool: type[nn.MaxPool2d | nn.MaxPool3d]
    up: type[nn.ConvTranspose2d | nn.ConvTranspose3d]


_LAYERS = {
    2: _Layers(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ConvTranspose2d),
    3: _Layers(nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.ConvTranspose3d),
}


def _block(kinds: _Layers, channels: int, filters: int, norm: bool) -> nn.Sequential:
    """Two convolutions of width 3, each with ReLU, and with batch normalisation in between if wanted."""
    layers: list[nn.Module] = []
    for inputs in (channels, filters):
        layers.append(kinds.conv(inputs, filters, 3, padding=1, bias=not norm))
        layers += [kinds.norm(filters)] if norm else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """A U-Net (arXiv:1505.04597): encoder, decoder, and skip connections between equal resolutions.

    Args:
        network: its channels, classes and dimension.
        filters: of each level, from full resolution down.
        pools: by how much each level is smaller than the one above.
        norm: batch normalisation and transposed convolutions; without it, plain convolutions with nearest-neighbour
            upsampling.
    """

    def __init__(self, network: Network, filters: tuple[int, ...], pools: tuple[int, ...], norm: bool) -> None:
        super().__init__()
        kinds, inputs = _LAYERS[network.dim], (network.channels, *filters)
        self.encoder = nn.ModuleList(_block(kinds, i, o, norm) for i, o in zip(inputs, filters, strict=False))
        self.pools = nn.ModuleList(kinds.pool(pool) for pool in pools)
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for below, here, pool in zip(filters[1:], filters[:-1], pools, strict=True):
            self.ups.append(kinds.up(below, here, pool, pool) if norm else nn.Upsample(scale_factor=pool))
            self.decoder.append(_block(kinds, 2 * here if norm else below + here, here, norm))
        self.head = kinds.conv(filters[0], network.classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits."""
        features = [self.encoder[0](image)]
        for pool, block in zip(self.pools, self.encoder[1:], strict=True):
            features.append(block(pool(features[-1])))
        x = features.pop()
        for up, block, skip in zip(reversed(self.ups), reversed(self.decoder), reversed(features), strict=True):
            x = block(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _unet(network: Network) -> nn.Module:
    filters = tuple(network.width * 2**level for level in range(4))
    return UNet(network, filters, (2, 2, 2), norm=True)


def _unet_nacl(network: Network) -> nn.Module:
    filters = tuple(network.width * 2**level for level in range(5))
    return UNet(network, filters, (2, 2, 2, 4), norm=False)


def _dynunet(network: Network) -> nn.Module:
    try:
        from monai.networks.nets.dynunet import DynUNet
    except ImportError as error:
        raise MissingExtraError("monai", "train") from error
    levels = 5
    strides = [1] + [2] * (levels - 1)
    net: nn.Module = DynUNet(
        spatial_dims=network.dim,
        in_channels=network.channels,
        out_channels=network.classes,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[min(network.width * 2**level, 512) for level in range(levels)],
    )
    return net


BACKBONES: dict[str, Backbone] = {
    "unet": Backbone(_unet, 32, 8, 16, "U-Net with batch normalisation, 4 levels; 1.9 M parameters"),
    "unet-nacl": Backbone(
        _unet_nacl, 32, 32, 32, "the NACL code's U-Net without normalisation, 5 levels; 7.85 M parameters"
    ),
    "dynunet": Backbone(_dynunet, 32, 16, 32, "MONAI's DynUNet, instance normalisation, 5 levels; 7.8 M parameters"),
}
