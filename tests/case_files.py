"""Small cases, and the files that real tools would write of them.

Arrays are slowest axis first: labels (z, y, x), probabilities (C, z, y, x), spacing (z, y, x) in mm.
"""

import json
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

SHAPE = (4, 5, 6)  # no two axes alike, so that a wrong order shows
SPACING = (8.0, 1.5, 1.25)
AFFINE = np.array([[-1.25, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, 8, 5], [0, 0, 0, 1]], float)  # (x, y, z), RAS+
NAMES = ("background", "RV", "LV")


def make_case(seed=0, shape=SHAPE, classes=3, quantum=64):
    """Probabilities (C, *shape), multiples of 1/quantum that sum to 1, and a label that fits most of them."""
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, shape)
    label[tuple(slice(n // 2, None) for n in shape)] = classes - 1
    guess = np.where(random.random(shape) < 0.8, label, (label + 1) % classes)
    steps = random.integers(0, quantum // 8, (classes, *shape))
    np.put_along_axis(steps, guess[None], quantum, 0)
    np.put_along_axis(steps, guess[None], 2 * quantum - steps.sum(axis=0)[None], 0)
    return (steps / quantum).astype(np.float32), label.astype(np.uint8)


def write_nifti(path, array, affine=AFFINE, dtype=None, slope=None, endian="<"):
    """Write (z, y, x) or (C, z, y, x) as NIfTI (x, y, z) or (x, y, z, C); stored values are array / slope."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(array if slope is None else np.rint(array / slope), dtype or array.dtype)
    image = nibabel.Nifti1Image(data.T, affine, header=nibabel.Nifti1Header(endianness=endian), dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


def read_nifti(path) -> Any:
    """The image; nibabel's types leave out what every NIfTI has."""
    return nibabel.load(path)


def itk_image(array, *, vector=False):
    """The image of `AFFINE` as ITK sees it (LPS+); (C, z, y, x) becomes a vector image or a 4-D one."""
    if array.ndim > 3 and not vector:
        image = sitk.JoinSeries([itk_image(plane) for plane in array])
    else:
        image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if vector else array, isVector=vector)
        image.SetSpacing(SPACING[::-1])
        image.SetOrigin((-20.0, 30.0, 5.0))
        image.SetDirection((1.0, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def write_itk(path, array, *, vector=False, compress=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(itk_image(array, vector=vector), str(path), useCompression=compress)
    return path


def write_npz(path, *, compress=True, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    return path


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def write_names(folder, labels=None, **more):
    """An nnU-Net dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = labels or {name: value for value, name in enumerate(NAMES)}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, **more}), encoding="utf-8")


def write_folders(folder, cases=3, method="m", classes=3):
    """NIfTI cases a, b, ... with dataset.json; gives the folders of predictions and labels."""
    preds, labels = folder / "preds" / method, folder / "labels"
    for index in range(cases):
        probabilities, label = make_case(index, classes=classes)
        name = chr(ord("a") + index)
        write_nifti(preds / f"{name}.nii.gz", probabilities)
        write_nifti(labels / f"{name}.nii.gz", label)
    write_names(labels, {name: value for value, name in enumerate((*NAMES, "MYO")[:classes])})
    return preds, labels


def values_of(frame, method=None):
    """Value by (case, class, metric)."""
    if method is not None:
        frame = frame[frame["method"] == method]
    return {(row.case, row[4], row.metric): row.value for row in frame.itertuples()}
