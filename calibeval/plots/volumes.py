"""What is drawn of a case's volumes: labels, the probability of any structure, where the model is sure and wrong."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError, UsageError
from calibeval.files import atomic_path
from calibeval.io.array_file import ArrayFile
from calibeval.io.arrays import open_array
from calibeval.io.cases import Case, open_case, open_reference
from calibeval.io.channels import group_channels
from calibeval.io.classes import read_values
from calibeval.io.geometry import orientation_code
from calibeval.io.layout import squeezed
from calibeval.io.layouts import list_files
from calibeval.io.nifti import nifti_bytes
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import PlaneSource
from calibeval.scoring.options import ScoreOptions, options_of_command, options_of_table
from calibeval.scoring.plan import ScoreJob, plan_job, settle_job
from calibeval.scoring.readout import find_turn
from calibeval.wording import some_of

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Volume:
    """One case of one method; arrays are spatial, slowest axis first, as the label lies.

    Attributes:
        case: its name.
        method: its name.
        names: of classes, background first; of overlapping regions, what is in any of them.
        reference: class indices, 255 ignored.
        predicted: class indices.
        structure: 1 - p_0, the probability of any structure; of a label map 0 or 1.
        wrong: how sure the model is where it is wrong, else 0: the probability of the class that it chose, above 0
            where it sees a structure in what is background, below 0 where it misses or confuses one.
        spacing_mm: of the axes; None where no file tells.
        image: grey values; None without.
        directions: where the axes run, as in `SAR` for x to the right; empty where no file tells.
    """

    case: str
    method: str
    names: tuple[str, ...]
    reference: Labels
    predicted: Labels
    structure: Floats
    wrong: Floats
    spacing_mm: tuple[float, ...] | None = None
    image: NDArray[Any] | None = None
    directions: str = ""


class Volumes(NamedTuple):
    """Cases whose files lie in folders, to be read one at a time.

    Attributes:
        job: of scoring them.
        images: case to its image.
    """

    job: ScoreJob
    images: dict[str, Path]

    @staticmethod
    def find(preds: Path, labels: Path | None, images: Path | None = None, **choices: Any) -> Volumes:
        """Pair the files.

        Args:
            preds: as for `score_folder`.
            labels: as there.
            images: folder of images that are named after the cases, with or without the number of a channel.
            **choices: as there.

        Raises:
            UsageError: nothing to draw, or names that fit in more than one way.
        """
        return Volumes._of(plan_job(preds, labels, ScoreOptions(**choices)), images)

    @staticmethod
    def of_command(
        command: str, preds: Path | None = None, labels: Path | None = None, images: Path | None = None
    ) -> Volumes:
        """Find the files that a table was made of.

        Args:
            command: that the table records.
            preds: where the predictions lie now; None takes the command's.
            labels: where the labels lie now.
            images: as for `find`.

        Raises:
            UsageError: as for `find`; or the command does not tell where the files lay.
        """
        places = list(takewhile(lambda word: not word.startswith("-"), shlex.split(command)[2:]))
        options = options_of_table(options_of_command(command), "the table's command")
        found = [Path(place) for place in places]
        preds, labels = preds or next(iter(found), None), labels or (found[1] if len(found) > 1 else None)
        if options.manifest is None and (preds is None or not preds.exists()):
            raise UsageError(f"{preds or 'No predictions'}: not there. Say where they lie: --preds DIR --labels DIR.")
        return Volumes._of(plan_job(preds, labels, options), images)

    @staticmethod
    def _of(job: ScoreJob, images: Path | None) -> Volumes:
        job = settle_job(job)
        if images is None:
            return Volumes(job, {})
        if not images.is_dir():
            raise UsageError(f"{images}: no such folder of images.")
        names = {paths.case for pairing in job.pairings.values() for paths in pairing.cases}
        return Volumes(job, {case: files[0] for case, files in group_channels(list_files(images), names).items()})

    def read(self, method: str, case: str) -> Volume:
        """Read a case through.

        Raises:
            UsageError: no such method or case.
            InputError: a file that is missing or cannot be used.
        """
        opened, place = self._open(method, case)
        decoded, top, structure = _read_planes(opened)
        turn = find_turn(opened, decoded)
        if turn is not None:
            decoded, top, structure = (turn.apply(each) for each in (decoded, top, structure))
        names, reference = opened.scheme.names, opened.reference
        if opened.sigmoid:
            names, reference = ("background", "any region"), _in_any_region(opened)
        wrong = np.where((decoded != reference) & (reference != IGNORED), top, np.float32(0))
        return Volume(
            case, method, names, reference, decoded, structure, np.where(reference > 0, -wrong, wrong),
            opened.spacing_mm, self._image(case, reference.shape), _directions(place),
        )  # fmt: skip

    def write_map(self, volume: Volume, out: Path) -> None:
        """Write where a model is sure and wrong as compressed NIfTI in the geometry of the label, all or nothing."""
        place = self._open(volume.method, volume.case)[1]
        if place.geometry is not None:
            content = nifti_bytes(volume.wrong.reshape(place.spatial), place.geometry.affine)
        else:
            lengths = (*(volume.spacing_mm or (1.0,) * volume.wrong.ndim)[::-1], 1.0, 1.0)
            content = nifti_bytes(volume.wrong, np.diag([*lengths[:3], 1.0]))
        with atomic_path(out) as temporary:
            temporary.write_bytes(content)

    def _open(self, method: str, case: str) -> tuple[Case, ArrayFile]:
        if method not in self.job.pairings:
            raise UsageError(f"No predictions of {method!r}: there are {some_of(self.job.pairings, 9)}.")
        paths = next((each for each in self.job.pairings[method].cases if each.case == case), None)
        if paths is None:
            raise UsageError(f"No case {case!r} among the labels.")
        if not paths.prediction:
            raise InputError(paths.reference or case, f"has no prediction of {method} ({paths.why}).")
        opened = open_case(paths, self.job.scheme, self.job.options, masked=self.job.masked)
        return opened, open_reference(paths, self.job.scheme)

    def _image(self, case: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        if case not in self.images:
            return None
        file = open_array(self.images[case])
        values = read_values(file).reshape(squeezed(file.shape))
        if values.shape[:-1] == shape:
            values = values.mean(axis=-1)  # colours
        if values.shape != shape:
            raise InputError(file.path, f"its shape {values.shape} differs from that of the label, {shape}.")
        return values


def _read_planes(case: Case) -> tuple[Labels, Floats, Floats]:
    """Decided classes, their probability, and that of any structure; flat planes in the shape of the source."""
    if case.source is None:
        assert case.predicted is not None
        return case.predicted, np.ones(case.predicted.shape, np.float32), (case.predicted > 0).astype(np.float32)
    source: PlaneSource = case.source
    decoded, top = np.zeros(source.voxels, np.uint8), np.zeros(source.voxels, np.float32)
    background = np.zeros(source.voxels, np.float32)
    for chunk in source.chunks():
        part = slice(chunk.start, chunk.start + chunk.values.size)
        if chunk.class_index == 0 and not case.sigmoid:
            background[part] = chunk.values
        better = chunk.values > top[part]
        decoded[part][better] = chunk.class_index
        top[part][better] = chunk.values[better]
    structure = top if case.sigmoid else 1 - background
    if case.sigmoid:
        decoded = (top > 0.5).astype(np.uint8)
        top = np.maximum(top, 1 - top)
    return decoded.reshape(source.shape), top.reshape(source.shape), structure.reshape(source.shape)


def _in_any_region(case: Case) -> Labels:
    members = sorted({c for region in case.scheme.regions.values() for c in region})
    inside = np.isin(case.reference, members).astype(np.uint8)
    return np.where(case.reference == IGNORED, np.uint8(IGNORED), inside)


def _directions(place: ArrayFile) -> str:
    """Where the axes of the array run, slowest first; empty for arrays and pictures."""
    if place.geometry is None or not place.geometry.placed or not place.format.has_geometry:
        return ""
    code = orientation_code(place.geometry.affine)[: len(place.spatial)][::-1]
    return "".join(letter for letter, n in zip(code, place.spatial, strict=True) if n > 1)
