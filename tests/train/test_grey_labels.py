"""Label files whose values are grey levels: no network of 171 classes."""

import numpy as np

from tests.train.data_sets import NAMES, write_npz_slices
from tests.train.test_cli_train import invoke


def test_grey_levels_without_names_are_asked_for(tmp_path):
    folder = write_npz_slices(tmp_path / "data", NAMES)
    for path in folder.glob("*.npz"):
        with np.load(path) as held:
            np.savez(path, image=held["image"], label=held["label"] * 85)
    result = invoke("train", folder, "--fold", "1/6", "--size", "16", "--dry-run")
    assert "the labels 0, 85, 170 are grey levels" in str(result.exception)
    assert "dataset.json" in str(result.exception)
