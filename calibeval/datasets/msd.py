"""A task of the Medical Segmentation Decathlon (arXiv:1902.09063): `dataset.json` lists images and labels.

`imagesTr/prostate_00.nii.gz` holds all channels along a fourth axis, `labelsTr/prostate_00.nii.gz` the label;
`imagesTs/` has no labels. macOS left a file `._prostate_00.nii.gz` beside many, which is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from calibeval.datasets.listing import Listing, Source, find_below
from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import reading, stem_of
from calibeval.io.scheme import make_scheme, read_channel_names

PATTERN = "dataset.json"


def find_cases(root: Path) -> Listing:
    """List what `dataset.json` lists, in this folder or in the only one below it that has one.

    Raises:
        UsageError: several folders have one, or its labels are not of one value a class.
        InputError: it is not of this form.
    """
    found = [root / PATTERN] if (root / PATTERN).is_file() else find_below(root, PATTERN)
    if not found:
        return Listing((), {}, ())
    if len(found) > 1:
        raise UsageError(f"{root}: holds several tasks. Say which: {', '.join(str(path.parent) for path in found)}.")
    (path,) = found
    scheme, channels = make_scheme([path.parent]), read_channel_names(path.parent)
    training, test = _listed(path)
    if scheme.regions or not channels:
        raise InputError(path, "expected 'modality' and one value a name in 'labels', as the Decathlon has them.")
    labels = dict(zip(scheme.names, scheme.values or range(len(scheme.names)), strict=True))
    sources = (
        *(_source(path.parent / image, path.parent / label) for image, label in training),
        *(_source(path.parent / image, None) for image in test),
    )
    return Listing(tuple(sorted(sources, key=lambda source: source.case)), labels, channels, name=scheme.dataset)


def _listed(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Images with labels, and images without."""
    with reading(path):
        description: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    try:
        training = [(str(pair["image"]), str(pair["label"])) for pair in description["training"]]
        return training, [
            str(image["image"] if isinstance(image, dict) else image) for image in description.get("test", [])
        ]
    except (KeyError, TypeError) as error:
        problem = "expected 'training', a list of images with their labels, as the Decathlon has it."
        raise InputError(path, problem, "Download it again.") from error


def _source(image: Path, label: Path | None) -> Source:
    case = stem_of(image)
    return Source(case, case, (image,), label, test=label is None)
