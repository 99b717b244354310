"""Tiny data sets on disk: discs that are easy to segment, so that a few steps of training show."""

import json

import nibabel
import numpy as np

SHAPE = (3, 16, 16)  # (z, y, x)
AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


def disc_case(index, channels=1):
    """Image (channels, z, y, x) and label (z, y, x) with a disc (2) inside a ring (1)."""
    random = np.random.default_rng(index)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    centre = 8 + random.uniform(-1.5, 1.5, 2)
    distance = np.hypot(y - centre[0], x - centre[1])
    label = np.repeat((np.where(distance < 3, 2, distance < 6)).astype(np.uint8)[None], SHAPE[0], axis=0)
    image = np.stack([100.0 * label + random.normal(0, 5, SHAPE) for _ in range(channels)])
    return image.astype(np.float32), label


def write_nifti(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine), path)


def write_nnunet(folder, names, channels=1, numbered=True, labels=None):
    """An nnU-Net data set with one file a channel, or an MSD one with channels last."""
    for index, name in enumerate(names):
        image, label = disc_case(index, channels)
        if numbered:
            for channel, plane in enumerate(image):
                write_nifti(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz", plane)
        else:
            write_nifti(folder / "imagesTr" / f"{name}.nii.gz", image[0] if channels == 1 else image)
        write_nifti(folder / "labelsTr" / f"{name}.nii.gz", label)
    named = {"background": 0, "ring": 1, "disc": 2} if labels is None else labels
    (folder / "dataset.json").write_text(json.dumps({"name": "Discs", "labels": named, "file_ending": ".nii.gz"}))
    return folder


def write_npz_slices(folder, names):
    """Slices as in the SDC authors' repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        image, label = disc_case(index)
        for z in range(SHAPE[0]):
            np.savez(folder / f"{name}_slice_{z}.npz", image=image[:, z], label=label[z].astype(np.int64))
    return folder


NAMES = [f"case_{index:03d}" for index in range(6)]
