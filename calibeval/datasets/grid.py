"""The voxels that a prepared case has: resampled, cropped or padded through SimpleITK, which keeps the place right.

Axes stay as they are stored (no reorientation); numbers are in the order x, y, z of the file. Images are interpolated
linearly, labels take the nearest voxel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from calibeval.errors import MissingExtraError, UsageError

CENTRE, FOREGROUND = "centre", "foreground"


class Grid(NamedTuple):
    """What voxels are wanted; axes that are not named stay as they are.

    Attributes:
        spacing: mm along x, y and, if given, z.
        size: voxels along x, y and, if given, z.
        around: what lies in the middle then: the centre of the volume, or of the foreground's bounding box.
    """

    spacing: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    around: str = CENTRE

    @property
    def words(self) -> str:
        """For people."""
        spacing = f"{' x '.join(f'{length:g}' for length in self.spacing)} mm" if self.spacing else "as it is"
        size = f"{' x '.join(map(str, self.size))}, {self.around} in the middle" if self.size else "as it is"
        return f"spacing {spacing}; size {size}"


class Fitted(NamedTuple):
    """A case on its grid.

    Attributes:
        images: SimpleITK images, one a channel.
        label: of class indices; None without a label.
        before: voxels of each class before the crop, on the grid's spacing.
        after: and after it.
    """

    images: list[Any]
    label: Any | None
    before: list[int]
    after: list[int]


def parse_grid(spacing: str | None, size: str | None, around: str | None, base: Grid) -> Grid:
    """Read the options; what is not given is the base's.

    Raises:
        UsageError: not of their form.
    """
    lengths, counts = base.spacing, base.size
    if spacing is not None:
        try:
            lengths = tuple(float(part) for part in spacing.split(","))
        except ValueError:
            lengths = ()
        if len(lengths) not in (2, 3) or not all(0 < length < math.inf for length in lengths):
            raise UsageError(f"--spacing {spacing!r}: expected mm along x, y and z, as in 1.5,1.5,8, or along x and y.")
    if size is not None:
        if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4}){1,2}", size):
            raise UsageError(f"--size {size!r}: expected voxels along x and y, as in 224x224, or also z: 192x192x30.")
        counts = tuple(map(int, size.split("x")))
    return Grid(lengths, counts, around or base.around)


def require_itk() -> Any:
    """SimpleITK, or what to install.

    Raises:
        MissingExtraError: it is not there.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingExtraError("SimpleITK", "prepare") from error
    return SimpleITK


def fit(images: Sequence[Any], label: Any | None, grid: Grid, classes: int) -> Fitted:
    """Bring a case to the grid.

    Args:
        images: SimpleITK images of one place, one a channel.
        label: uint8 class indices of that place, 255 ignored.
        grid: what is wanted.
        classes: how many there are.
    """
    sitk = require_itk()
    images = [_resample(image, grid, sitk.sitkLinear) for image in images]
    label = label and _resample(label, grid, sitk.sitkNearestNeighbor)
    start, size = _window(images[0], label, grid)
    before = _count(label, classes)
    images = [_frame(image, start, size, float(sitk.GetArrayViewFromImage(image).min())) for image in images]
    label = label and _frame(label, start, size, 0)
    return Fitted(images, label, before, _count(label, classes))


def _count(label: Any | None, classes: int) -> list[int]:
    if label is None:
        return []
    values = require_itk().GetArrayViewFromImage(label)
    return [int(count) for count in np.bincount(values.ravel(), minlength=classes)[:classes]]


def _resample(image: Any, grid: Grid, interpolator: int) -> Any:
    """The same extent about the same centre, in other steps; float32 where values are mixed."""
    sitk = require_itk()
    old, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    wanted = np.array([*grid.spacing, *old[len(grid.spacing) :]])
    new = np.where(np.isclose(wanted, old, rtol=1e-4), old, wanted)
    if (new == old).all():
        return image
    linear = interpolator == sitk.sitkLinear
    counts = np.maximum(1, np.rint(size * old / new)).astype(int)
    centre = image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist())
    corner = np.array(image.GetDirection()).reshape(3, 3) @ ((counts - 1) / 2 * new)
    return sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32) if linear else image,
        counts.tolist(),
        sitk.Transform(),
        interpolator,
        (np.array(centre) - corner).tolist(),
        new.tolist(),
        image.GetDirection(),
        float(sitk.GetArrayViewFromImage(image).min()) if linear else 0.0,
    )


def _window(image: Any, label: Any | None, grid: Grid) -> tuple[list[int], list[int]]:
    """First voxel and size of the crop along each axis; the first is negative where the volume is padded."""
    present = np.array(image.GetSize())
    size = np.array([*grid.size, *present[len(grid.size) :]])
    low, high = np.zeros(3, int), present
    if label is not None and grid.around == FOREGROUND:
        values = require_itk().GetArrayViewFromImage(label)
        where = np.argwhere((values > 0) & (values < 255))[:, ::-1]  # x first
        if len(where):
            low, high = where.min(axis=0), where.max(axis=0) + 1
    inside = np.clip((low + high - size) // 2, 0, np.maximum(present - size, 0))
    return np.where(size > present, (present - size) // 2, inside).tolist(), size.tolist()


def _frame(image: Any, start: list[int], size: list[int], value: float) -> Any:
    sitk = require_itk()
    lower = [max(0, -first) for first in start]
    upper = [max(0, first + n - present) for first, n, present in zip(start, size, image.GetSize(), strict=True)]
    padded = sitk.ConstantPad(image, lower, upper, value) if any((*lower, *upper)) else image
    first = [begin + more for begin, more in zip(start, lower, strict=True)]
    return padded if list(padded.GetSize()) == size else sitk.RegionOfInterest(padded, size, first)
