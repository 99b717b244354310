"""What the axes of a prediction mean: labels or probabilities, and where the classes are.

Shapes are as in `arrays`: slowest axis first. Singleton axes mean nothing and are dropped, in the reference too.
A layout that fits in two ways is an error, never a guess; `--axes` settles it.
"""

from __future__ import annotations

from typing import NamedTuple

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile
from calibeval.io.read_options import check_axes

_NNUNET_KEYS = ("probabilities", "softmax")  # of its versions 2 and 1


class Layout(NamedTuple):
    """How to turn a squeezed array into (C, *spatial), or into (*spatial) without a class axis.

    Attributes:
        order: permutation of the squeezed axes.
        classes: C, or 0 without a class axis.
        why: for people.
    """

    order: tuple[int, ...]
    classes: int
    why: str


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its singleton axes; at least one axis stays."""
    return tuple(n for n in shape if n != 1) or (1,)


def find_layout(
    file: ArrayFile, reference: ArrayFile, axes: str | None = None, *, may_be_turned: bool = False
) -> Layout:
    """Find the layout of a prediction.

    Two files that both name their axes x first, or both as stored, share the order of their spatial axes. An array
    against an image may run either way; nnU-Net's keys say that it runs z, y, x.

    Args:
        file: the prediction.
        reference: the label.
        axes: the file's own axes as the user names them, for example `czyx` (nnU-Net's NPZ) or `xyzc` (NIfTI).
        may_be_turned: a label map beside it can tell how it was turned, so any order of the spatial axes will do.

    Raises:
        InputError: no layout fits, or several do.
    """
    shape, spatial = squeezed(file.shape), squeezed(reference.shape)
    _check_label(reference, spatial)
    if axes is not None:
        return _named_layout(file, spatial, axes)
    if shape == spatial:
        return Layout(tuple(range(len(shape))), 0, "of the label's shape")
    fits = _find_fits(file, reference, shape, spatial, may_be_turned=may_be_turned)
    if may_be_turned and len({layout.order[0] for layout in fits}) == 1:
        return fits[0]
    if len(fits) > 1:
        found = " or ".join(layout.why for layout in fits)
        raise InputError(file.path, f"its shape {file.shape} can be read as {found}.", "Say which with --axes.")
    if fits:
        return fits[0]
    if may_be_turned and sorted(shape[1:]) == sorted(spatial):
        return Layout(tuple(range(len(shape))), shape[0], "classes first, the other axes turned")
    raise InputError(file.path, _describe_mismatch(file, shape, spatial), _advise(shape, spatial))


def _check_label(reference: ArrayFile, spatial: tuple[int, ...]) -> None:
    most = 2 if reference.format.planar else 3
    if not 2 <= len(spatial) <= most:
        axes = "2 axes" if most == 2 else "2 or 3 axes"
        raise InputError(
            reference.path,
            f"expected a label map of {axes}, found the shape {reference.shape}.",
            "Labels are one number a voxel: save the argmax of one-hot maps, and no colours.",
        )


def _find_fits(
    file: ArrayFile, reference: ArrayFile, shape: tuple[int, ...], spatial: tuple[int, ...], *, may_be_turned: bool
) -> list[Layout]:
    """All layouts that fit."""
    ends = (
        ("last", "first") if file.format.names_x_first else ("first", "last")
    )  # as the file's own tools count its axes
    forward, reversed_ = (_class_layouts(shape, spatial, ends, backward=way) for way in (False, True))
    if file.member in _NNUNET_KEYS:  # its classes come first, and z before y before x
        forward, reversed_ = ([layout for layout in fits if layout.order[0] == 0] for fits in (forward, reversed_))
        return forward or ([] if may_be_turned else reversed_)
    one, other = file.format, reference.format
    either_way = (one.is_array and other.names_x_first) or (other.is_array and one.names_x_first)
    return forward + reversed_ if either_way else forward


def _class_layouts(
    shape: tuple[int, ...], spatial: tuple[int, ...], ends: tuple[str, str], *, backward: bool
) -> list[Layout]:
    """The layouts with a class axis at either end that fit, with the spatial axes as they are or backward."""
    n = len(shape)
    step, how = (-1, " and the other axes reversed") if backward else (1, "")
    candidates = {
        (0, *range(1, n)[::step]): f"classes {ends[0]}{how}",
        (n - 1, *range(n - 1)[::step]): f"classes {ends[1]}{how}",
    }
    return [
        Layout(order, shape[order[0]], why)
        for order, why in candidates.items()
        if tuple(shape[axis] for axis in order[1:]) == spatial
    ]


def _named_layout(file: ArrayFile, spatial: tuple[int, ...], axes: str) -> Layout:
    check_axes(axes)
    letters = axes.lower()
    if len(letters) == len(file.shape):  # else the letters name the squeezed axes
        letters = "".join(letter for n, letter in zip(_own(file), letters, strict=True) if n != 1)
    shape = squeezed(file.shape)
    if len(letters) != len(shape):
        raise InputError(file.path, f"has the shape {file.shape}, which --axes {axes} does not fit.")
    stored = _stored(file, letters)
    wanted = [letter for letter in "czyx" if letter in stored]
    order = tuple(stored.index(letter) for letter in wanted)
    found = tuple(shape[axis] for axis in order)
    classes = found[0] if wanted[0] == "c" else 0
    if found[1 if classes else 0 :] != spatial:
        raise InputError(
            file.path, f"read as --axes {axes} it spans {found} (slowest first), the label spans {spatial}."
        )
    return Layout(order, classes, f"--axes {axes}")


def _own(file: ArrayFile) -> tuple[int, ...]:
    """The shape as the file's own tools print it."""
    return file.shape[::-1] if file.format.names_x_first else file.shape


def _stored(file: ArrayFile, letters: str) -> str:
    return letters[::-1] if file.format.names_x_first else letters


def _describe_mismatch(file: ArrayFile, shape: tuple[int, ...], spatial: tuple[int, ...]) -> str:
    return f"its shape {file.shape} fits no layout of the label's shape {spatial} (slowest axis first)."


def _advise(shape: tuple[int, ...], spatial: tuple[int, ...]) -> str:
    inner = shape[-len(spatial) :]
    if len(shape) == len(spatial) + 1 and all(a <= b for a, b in zip(inner, spatial, strict=True)):
        return (
            "It is smaller than the label: nnU-Net v1 saves probabilities of the cropped image. "
            "Export them at full size; calibeval never resamples or pads silently."
        )
    return "Check that prediction and label belong to the same image; --dry-run shows the pairing."
