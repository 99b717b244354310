"""The voxels that a prepared case has: resampled, cropped or padded through SimpleITK, which keeps the place right.

Axes stay as they are stored (no reorientation); numbers are in the order x, y, z of the file. Images are interpolated
linearly, labels take the nearest voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from calibeval.errors import MissingExtraError, UsageError
from calibeval.metrics.statistics import IGNORED

_FAR = 100_000  # mm, or voxels: no scan is so large
_N = TypeVar("_N", int, float)
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
    lengths = base.spacing if spacing is None else _numbers(spacing, ",", float)
    counts = base.size if size is None else _numbers(size, "x", int)
    if lengths is None:
        raise UsageError(f"--spacing {spacing!r}: expected mm along x, y and z, as in 1.5,1.5,8, or along x and y.")
    if counts is None:
        raise UsageError(f"--size {size!r}: expected voxels along x and y, as in 224x224, or also z: 192x192x30.")
    return Grid(lengths, counts, around or base.around)


def _numbers(text: str, mark: str, kind: Callable[[str], _N]) -> tuple[_N, ...] | None:
    """Two or three numbers above 0; None where there are none such."""
    try:
        numbers = tuple(map(kind, text.split(mark)))
    except ValueError:
        return None
    return numbers if len(numbers) in (2, 3) and all(0 < number < _FAR for number in numbers) else None


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
    label = None if label is None else _resample(label, grid, sitk.sitkNearestNeighbor)
    start, size = _window(images[0], label, grid)
    before = _count(label, classes)
    images = [_frame(image, start, size, _smallest(image)) for image in images]
    label = None if label is None else _frame(label, start, size, 0)
    return Fitted(images, label, before, _count(label, classes))


def _smallest(image: Any) -> float:
    return float(require_itk().GetArrayViewFromImage(image).min())


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
    counts = np.maximum(1, np.rint(size * old / new)).astype(int)
    centre = image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist())
    corner = np.array(image.GetDirection()).reshape(3, 3) @ ((counts - 1) / 2 * new)
    place = ((np.array(centre) - corner).tolist(), new.tolist(), image.GetDirection())
    values = sitk.Cast(image, sitk.sitkFloat32) if interpolator == sitk.sitkLinear else image
    return sitk.Resample(values, counts.tolist(), sitk.Transform(), interpolator, *place, _smallest(image))


def _window(image: Any, label: Any | None, grid: Grid) -> tuple[list[int], list[int]]:
    """First voxel and size of the crop along each axis; the first is negative where the volume is padded."""
    present = np.array(image.GetSize())
    size = np.array([*grid.size, *present[len(grid.size) :]])
    low, high = np.zeros(3, int), present
    if label is not None and grid.around == FOREGROUND:
        values = require_itk().GetArrayViewFromImage(label)
        labelled = (values > 0) & (values < IGNORED)
        spans = [np.flatnonzero(labelled.any(axis=others)) for others in ((0, 1), (0, 2), (1, 2))]  # x, y, z
        if labelled.any():
            low, high = np.array([(span[0], span[-1] + 1) for span in spans]).T
    inside = np.clip((low + high - size) // 2, 0, np.maximum(present - size, 0))
    return np.where(size > present, (present - size) // 2, inside).tolist(), size.tolist()


def _frame(image: Any, start: list[int], size: list[int], value: float) -> Any:
    sitk = require_itk()
    lower = [max(0, -first) for first in start]
    upper = [max(0, first + n - present) for first, n, present in zip(start, size, image.GetSize(), strict=True)]
    padded = sitk.ConstantPad(image, lower, upper, value) if any((*lower, *upper)) else image
    first = [begin + more for begin, more in zip(start, lower, strict=True)]
    return padded if list(padded.GetSize()) == size else sitk.RegionOfInterest(padded, size, first)
