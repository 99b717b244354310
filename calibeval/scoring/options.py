"""The choices of scoring, once: options of `score`, keys of `[score]` in a gates file, keywords of `score_folder`.

Every choice here changes numbers, or which files they are of, so a table's recorded command is made of these alone:
`command` leaves out whatever else was on the command line.
"""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from calibeval.errors import UsageError
from calibeval.io.read_options import InputKind, ReadOptions, check_axes
from calibeval.io.remote import as_given
from calibeval.protocol import (
    CONSENSUSES,
    EMPTY_RULES,
    HD95_DEFINITIONS,
    MATCHINGS,
    PROTOCOLS,
    Protocol,
    make_protocol,
)
from calibeval.wording import MISSING_RULES, missing_rule

if TYPE_CHECKING:
    from calibeval.io.classes import ClassScheme

NUMBERS, LABELS, FILES = "Numbers", "Classes and labels", "Files"  # parts of the help


class Option(NamedTuple):
    """One choice, as people give it.

    Attributes:
        name: of the option `--name` and, with `_` for `-`, of the key in `[score]`.
        kind: of its value; a list is also text parted by commas.
        help: one line.
        part: of the help.
        choices: all values; empty for any.
        metavar: what help calls the value; None for its kind.
    """

    name: str
    kind: type
    help: str
    part: str
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def key(self) -> str:
        """Its key in `[score]`."""
        return self.name.replace("-", "_")


def _about(
    part: str, kind: type, text: str, name: str = "", choices: Iterable[str] = (), *, metavar: str | None = None
) -> dict[str, Any]:
    return {"name": name, "rest": (kind, text, part, tuple(choices), metavar)}


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """All choices of scoring; the list says name, kind, meaning and default of each, None for what others tell.

    Raises:
        UsageError: a value that cannot be.
    """

    protocol: str | Protocol = field(
        default="paper", metadata=_about(NUMBERS, str, "Named set of choices.", choices=PROTOCOLS)
    )
    metrics: str | Sequence[str] = field(
        default="default",
        metadata=_about(NUMBERS, str, "default, paper (DSC, HD95, ECE, CECE, pECE), all, lesions, or names."),
    )
    bins: int | None = field(default=None, metadata=_about(NUMBERS, int, "Bins of ECE, CECE and pECE alike."))
    fp_weight: float | None = field(default=None, metadata=_about(NUMBERS, float, "Weight of false positives in pECE."))
    cece_threshold: float | None = field(
        default=None, metadata=_about(NUMBERS, float, "CECE counts voxels with p above it.", "threshold")
    )
    hd95: str | None = field(
        default=None, metadata=_about(NUMBERS, str, "Definition of HD95 and of all distances.", "", HD95_DEFINITIONS)
    )
    empty: str | None = field(
        default=None, metadata=_about(NUMBERS, str, "What a number becomes when a mask is empty.", "", EMPTY_RULES)
    )
    nsd_tolerance_mm: float | None = field(
        default=None, metadata=_about(NUMBERS, float, "Tolerance of NSD in mm.", "nsd-tolerance")
    )
    boundary_mm: float | None = field(
        default=None, metadata=_about(NUMBERS, float, "Width of the boundary for bECE in mm.", "boundary")
    )
    matching: str | None = field(
        default=None,
        metadata=_about(NUMBERS, str, f"What finds a lesion: {', '.join(MATCHINGS)}.", metavar="NAME"),
    )
    connectivity: int | None = field(
        default=None, metadata=_about(NUMBERS, int, "Neighbours that join voxels to a lesion: 6, 18 or 26.")
    )
    min_lesion_mm3: float | None = field(
        default=None, metadata=_about(NUMBERS, float, "Lesions of smaller volume count nowhere, in mm^3.", "min-lesion")
    )
    consensus: str | None = field(
        default=None, metadata=_about(NUMBERS, str, "What several raters say together.", "", CONSENSUSES)
    )
    levels: tuple[float, ...] | None = field(
        default=None, metadata=_about(NUMBERS, list, "Levels of the thresholded Dice, as in '0.3,0.5'.")
    )
    missing: str = field(
        default="error",
        metadata=_about(NUMBERS, str, "What a missing prediction is; skip is drop.", "", (*MISSING_RULES, "skip")),
    )
    classes: str | None = field(
        default=None, metadata=_about(LABELS, str, "Class names, background first; else from dataset.json.")
    )
    regions: str | None = field(
        default=None, metadata=_about(LABELS, str, "Overlapping regions, as in 'WT=1,2,3;TC=2,3;ET=3', or none.")
    )
    ignore_label: int | None = field(default=None, metadata=_about(LABELS, int, "Label value that counts nowhere."))
    label_map: str | None = field(
        default=None, metadata=_about(LABELS, str, "Label values to rename, as in '4=3,255=1'.", "map")
    )
    input: InputKind = field(
        default="auto",
        metadata=_about(FILES, str, "What predictions hold; logits are never guessed.", "", get_args(InputKind)),
    )
    axes: str | None = field(
        default=None, metadata=_about(FILES, str, "The predictions' own axes, as in czyx or xyzc.")
    )
    scale: float | None = field(
        default=None, metadata=_about(FILES, float, "Divide probabilities by this; uint8 is 255.")
    )
    spacing_mm: tuple[float, ...] | None = field(
        default=None,
        metadata=_about(
            FILES, list, "Voxel size in mm, in the order of the label file's own axes, as in '1.5,1.5,8'.", "spacing"
        ),
    )
    pattern: str | None = field(
        default=None, metadata=_about(FILES, str, "How prediction names are built, as in '{case}_softmax'.")
    )
    raters: str | None = field(
        default=None,
        metadata=_about(
            FILES, str, "How raters stand in the labels' paths, as in '{rater}/{case}' or '{case}_r{rater}'."
        ),
    )
    manifest: Path | None = field(
        default=None,
        metadata=_about(FILES, Path, "CSV of case, prediction, reference[, method, segmentation] instead of folders."),
    )
    images: Path | None = field(
        default=None,
        metadata=_about(
            FILES, Path, "Images (CT): calibration counts the box in plane that is above 0.", metavar="DIR"
        ),
    )
    seg_dir: Path | None = field(
        default=None, metadata=_about(FILES, Path, "Label maps to take overlap and distances from.")
    )
    mask: Path | None = field(
        default=None, metadata=_about(FILES, Path, "Maps of the field of view: voxels where they are 0 count nowhere.")
    )
    cases: Path | None = field(
        default=None,
        metadata=_about(
            FILES,
            Path,
            "CSV of facts about cases: case, patient, annotated (the classes drawn in it, parted by ;), ...",
            metavar="FILE",
        ),
    )
    group_by: str | None = field(
        default=None,
        metadata=_about(
            NUMBERS,
            str,
            "Whose cases count as one: each its own [none]; a patient's, by --cases or by name; of a column of "
            "--cases; of the part of the name in parentheses.",
            metavar="none|patient|COLUMN|REGEX",
        ),
    )
    dataset: str | None = field(
        default=None, metadata=_about(FILES, str, "Name of the data set; else from dataset.json.")
    )

    def __post_init__(self) -> None:
        for keyword, option in OPTIONS.items():
            value = getattr(self, keyword)
            if option.choices and isinstance(value, str) and value not in option.choices:
                raise UsageError(f"Unknown {option.name} {value!r}. Known: {', '.join(option.choices)}.")
        object.__setattr__(self, "missing", missing_rule(self.missing))
        object.__setattr__(self, "spacing_mm", _spacing(self.spacing_mm))
        object.__setattr__(self, "levels", _numbers(self.levels, "--levels", "numbers parted by commas, as in 0.3,0.5"))
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise UsageError(f"--scale {self.scale:g}: expected the value that stands for probability 1, above 0.")
        if self.axes is not None:
            check_axes(self.axes)

    @property
    def numbers(self) -> Protocol:
        """The protocol with its changed choices."""
        return make_protocol(
            self.protocol,
            bins=self.bins,
            fp_weight=self.fp_weight,
            cece_threshold=self.cece_threshold,
            hd95=self.hd95,
            empty=self.empty,
            nsd_tolerance_mm=self.nsd_tolerance_mm,
            boundary_mm=self.boundary_mm,
            matching=self.matching,
            connectivity=self.connectivity,
            min_lesion_mm3=self.min_lesion_mm3,
            consensus=self.consensus,
            levels=self.levels,
            crop=None if self.images is None else "body",
        )

    @property
    def reading(self) -> ReadOptions:
        """How to read predictions."""
        return ReadOptions(self.input, self.axes, self.scale, self.spacing_mm)

    def scheme(self, folders: Iterable[Path]) -> ClassScheme:
        """The classes, by the options and by what lies in the folders; see `make_scheme`."""
        from calibeval.io.classes import make_scheme

        return make_scheme(
            folders,
            classes=self.classes,
            regions=self.regions,
            ignore_label=self.ignore_label,
            label_map=self.label_map,
        )

    def command(self, predictions: Path | None, labels: Path | None) -> str:
        """The command that gives the same numbers: of all options, those that differ from their default."""
        words = [as_given(path) for path in (predictions, labels) if path is not None]
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                words += [f"--{OPTIONS[each.name].name}", _as_text(value)]
        return shlex.join(["calibeval", "score", *words])


OPTIONS: dict[str, Option] = {
    each.name: Option(each.metadata["name"] or each.name.replace("_", "-"), *each.metadata["rest"])
    for each in fields(ScoreOptions)
}


def options_of_table(table: Mapping[str, Any], source: str) -> ScoreOptions:
    """Read the choices of a `[score]` table.

    Args:
        table: key to value.
        source: of the table, for messages.

    Raises:
        UsageError: an unknown key, or a value of the wrong kind, or that cannot be.
    """
    keywords = {option.key: keyword for keyword, option in OPTIONS.items()}
    given = {}
    for key, value in table.items():
        if key not in keywords:
            raise UsageError(f"{source}: unknown option {key!r} of score. Known: {', '.join(keywords)}.")
        given[keywords[key]] = _of_kind(value, OPTIONS[keywords[key]], source)
    try:
        return ScoreOptions(**given)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def options_of_command(command: str) -> dict[str, Any]:
    """Keys and values of `[score]` that the recorded command of a table holds; none where it is another command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return {}
    if words[:2] != ["calibeval", "score"]:
        return {}
    named = {f"--{option.name}": option for option in OPTIONS.values()}
    found: dict[str, Any] = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, text = word.partition("=")
        if name in named:
            value = text if equals else following
            found[named[name].key] = _as_kind(value, named[name].kind)
    return found


def _as_kind(text: str, kind: type) -> Any:
    """A number where one is meant and written; whoever reads the choices refuses other text."""
    with contextlib.suppress(ValueError):
        return kind(text) if kind in (int, float) else text
    return text


def _of_kind(value: Any, option: Option, source: str) -> Any:
    accepted: dict[type, tuple[type, ...]] = {float: (int, float), Path: (str,), list: (list, str)}
    if isinstance(value, bool) or not isinstance(value, accepted.get(option.kind, (option.kind,))):
        expected = "str" if option.kind is Path else option.kind.__name__
        raise UsageError(f"{source}: score option {option.key} is {value!r}; expected {expected}.")
    return Path(str(value)) if option.kind is Path else value


def _spacing(value: str | Sequence[float] | None) -> tuple[float, ...] | None:
    """Lengths in mm from text as in `1.5,1.5,8`, or as they are."""
    spacing = _numbers(value, "--spacing", "numbers in mm parted by commas, as in 1.5,1.5,8")
    if spacing is not None and not all(0 < length < math.inf for length in spacing):
        raise UsageError(f"--spacing {value!r}: every length must be above 0.")
    return spacing


def _numbers(value: str | Sequence[float] | None, option: str, expected: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{option} {value!r}: expected {expected}.") from error


def _as_text(value: Any) -> str:
    if isinstance(value, Protocol):
        return value.name
    if isinstance(value, Path):
        return as_given(value)
    if isinstance(value, (list, tuple)):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)
