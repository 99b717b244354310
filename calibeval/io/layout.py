"""What the axes of a prediction mean: labels or probabilities, and where the classes are.

Shapes are as in `arrays`: slowest axis first. Singleton axes mean nothing and are dropped, in the reference too.
A layout that fits in two ways is an error, never a guess; `--axes` settles it.
"""

from __future__ import annotations

from typing import NamedTuple

from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import ArrayFile

_NNUNET_KEYS = ("probabilities", "softmax")  # of its versions 2 and 1
_X_FIRST = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".png")  # files that name their axes x first


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
    if axes:
        return _named_layout(file, spatial, axes)
    if shape == spatial:
        return Layout(tuple(range(len(shape))), 0, "of the label's shape")
    same_order = _names_x_first(file) == _names_x_first(reference) or file.member in _NNUNET_KEYS
    fits = _class_layouts(shape, spatial, reversible=False)
    if not same_order:
        fits += _class_layouts(shape, spatial, reversible=True)
    elif not fits and file.member in _NNUNET_KEYS and not may_be_turned:
        fits = _class_layouts(shape, spatial, reversible=True)
    if len(fits) > 1:
        found = " or ".join(layout.why for layout in fits)
        raise InputError(file.path, f"its shape {file.shape} can be read as {found}.", "Say which with --axes.")
    if fits:
        return fits[0]
    if may_be_turned and sorted(shape[1:]) == sorted(spatial):
        return Layout(tuple(range(len(shape))), shape[0], "classes slowest, the other axes turned")
    raise InputError(file.path, _describe_mismatch(file, shape, spatial), _advise(shape, spatial))


def _class_layouts(shape: tuple[int, ...], spatial: tuple[int, ...], *, reversible: bool) -> list[Layout]:
    """The layouts with a class axis first or last that fit, with the spatial axes as they are or reversed."""
    n = len(shape)
    if reversible:
        backward = tuple(range(n))[::-1]
        candidates = {
            (0, *backward[:-1]): "classes slowest and the other axes reversed (x, y, z)",
            backward: "classes fastest and the other axes reversed (x, y, z)",
        }
    else:
        forward = tuple(range(n))
        candidates = {forward: "classes slowest", (n - 1, *forward[:-1]): "classes fastest"}
    return [
        Layout(order, shape[order[0]], why)
        for order, why in candidates.items()
        if tuple(shape[axis] for axis in order[1:]) == spatial
    ]


def _named_layout(file: ArrayFile, spatial: tuple[int, ...], axes: str) -> Layout:
    letters = axes.lower()
    if sorted(letters) not in (sorted("cxyz"), sorted("cxy"), sorted("xyz"), sorted("xy")):
        raise UsageError(f"--axes {axes!r}: expected an order of the letters c, x, y, z, for example czyx.")
    if len(letters) != len(file.shape):
        shape = squeezed(file.shape)
    else:
        shape = tuple(
            n for n, letter in zip(file.shape, _stored(file, letters), strict=True) if n != 1 or letter == "c"
        )
        letters = "".join(letter for n, letter in zip(_own(file), letters, strict=True) if n != 1 or letter == "c")
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
    return file.shape[::-1] if _names_x_first(file) else file.shape


def _stored(file: ArrayFile, letters: str) -> str:
    return letters[::-1] if _names_x_first(file) else letters


def _names_x_first(file: ArrayFile) -> bool:
    return file.path.name.lower().endswith(_X_FIRST)


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
