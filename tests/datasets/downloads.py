"""Small files in exactly the layouts in which the data sets are offered."""

import json

import nibabel
import numpy as np

# As scanners give them: anisotropic, turned about z, and far from the origin (mm, RAS+).
AFFINE = np.array([[-1.2, 0.5, 0, 80], [0.5, 1.2, 0, -120], [0, 0, 8, 33], [0, 0, 0, 1]])
SHAPE = (7, 6, 4)  # (x, y, z)


def write(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def image(seed, shape=SHAPE, dtype=np.int16):
    return np.random.default_rng(seed).integers(-500, 1500, shape).astype(dtype)


def label(seed, values, shape=SHAPE):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)


def acdc(root, patients=(1, 2, 3, 101), frames=(1, 12)):
    """`frames`: of end-diastole and end-systole."""
    for patient in patients:
        name, part = f"patient{patient:03d}", "training" if patient <= 100 else "testing"
        folder = root / part / name
        for frame in frames:
            write(folder / f"{name}_frame{frame:02d}.nii.gz", image(100 * patient + frame))
            write(folder / f"{name}_frame{frame:02d}_gt.nii.gz", label(100 * patient + frame, [0, 1, 2, 3]))
        write(folder / f"{name}_4d.nii.gz", image(0, (*SHAPE, 3)))
        group = ("NOR", "DCM", "HCM")[patient % 3]
        info = f"ED: {frames[0]}\nES: {frames[1]}\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
        (folder / "Info.cfg").write_text(info)
        (folder / f"._{name}_frame01.nii.gz").write_bytes(b"left by macOS")
    return root


def flare(root, cases=3, dtype=np.int16):
    for case in range(cases):
        write(root / "TrainingImg" / f"train_{case:03d}_0000.nii.gz", image(case, dtype=dtype))
        write(root / "TrainingMask" / f"train_{case:03d}.nii.gz", label(case, [0, 1, 2, 3, 4]))
    write(root / "ValidationImg" / "validation_001_0000.nii.gz", image(50))
    return root


def brats2019(root, names=("HGG/BraTS19_CBICA_AAB_1", "HGG/BraTS19_2013_2_1", "LGG/BraTS19_TCIA01_186_1")):
    for seed, name in enumerate(names):
        for channel, sequence in enumerate(("flair", "t1", "t1ce", "t2")):
            write(root / name / f"{name.rpartition('/')[2]}_{sequence}.nii.gz", image(10 * seed + channel))
        if "/" in name:
            write(root / name / f"{name.rpartition('/')[2]}_seg.nii.gz", label(seed, [0, 1, 2, 4]))
    return root


def msd(root, cases=3):
    folder = root / "Task05_Prostate"
    names = [f"prostate_{case:02d}.nii.gz" for case in range(cases)]
    for seed, name in enumerate(names):
        write(folder / "imagesTr" / name, image(seed, (*SHAPE, 2), np.float32))
        write(folder / "labelsTr" / name, label(seed, [0, 1, 2]).astype(np.float32))  # as some tasks store them
        (folder / "imagesTr" / f"._{name}").write_bytes(b"left by macOS")
    write(folder / "imagesTs" / "prostate_08.nii.gz", image(9, (*SHAPE, 2), np.float32))
    description = {
        "name": "PROSTATE",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": cases,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/prostate_08.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return root
