"""What a file name says: which case, which class, and by which convention.

Understood without being told: equal stems; endings such as `_seg`, `_gt` or `_pred`; one file a class
(`case_0000.nii.gz`, ..., or ANTs' `case_prob1.nii.gz`, ...); BIDS (`sub-01_label-GM_probseg.nii.gz`,
`sub-01_dseg.nii.gz`). Else a pattern says it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calibeval.errors import UsageError
from calibeval.io.arrays import stem_of

_ENDING = re.compile(
    r"[_.-](gt|seg|segmentation|labels?|mask|manual|pred|prediction|probs?|probabilities|softmax|trans)$",
    re.IGNORECASE,
)
_FIRST_CHANNEL = re.compile(r"[_.-]0000$")
_BIDS = re.compile(r"(?P<entities>.+)_(?P<kind>probseg|dseg)")
NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")
_ANTS = re.compile(r"(?P<case>.+?)_?(segmentation)?(prob|posteriors)(?P<number>\d{1,3})", re.IGNORECASE)

_IMAGES = (
    *("image", "imaging", "img", "ct", "mr", "mri", "flair"),
    *("t1", "t1c", "t1ce", "t1gd", "t1n", "t1w", "t2", "t2f", "t2w"),
)


@dataclass
class Files:
    """Files of a prediction folder that name one case.

    Attributes:
        whole: files of all classes.
        by_class: files of one class each, by its name or number.
        segmentation: label maps beside probabilities, as BIDS names them.
    """

    whole: list[Path] = field(default_factory=list)
    by_class: dict[str, Path] = field(default_factory=dict)
    segmentation: list[Path] = field(default_factory=list)


def bare_name(name: str) -> str:
    """A name without endings that tell a label from a prediction."""
    shorter = _ENDING.sub("", name)
    return name if shorter == name else bare_name(shorter)


def plain_name(name: str) -> str:
    """A bare name without the number of the first channel, which a prediction may keep of its image."""
    shorter = _FIRST_CHANNEL.sub("", bare_name(name))
    return name if shorter == name else plain_name(shorter)


def last_word(name: str) -> str:
    """What a name ends in, which says what kind of file it is."""
    return re.split(r"[_.-]", name.lower())[-1]


def is_image(name: str) -> bool:
    """Whether a file beside labels is an image, by its name."""
    return last_word(name) in _IMAGES


def is_bids(stem: str) -> bool:
    """Whether BIDS knows such a name of a segmentation."""
    return _BIDS.fullmatch(stem) is not None


def is_bids_label(path: Path) -> bool:
    """Whether BIDS calls this file a label map."""
    match = _BIDS.fullmatch(stem_of(path))
    return match is not None and match["kind"] == "dseg"


def label_key(path: Path) -> str:
    """Case id that a label's name gives."""
    match = _BIDS.fullmatch(stem_of(path))
    return _bids_key(match["entities"])[0] if match else stem_of(path)


def group_by_convention(files: Iterable[Path], cases: set[str]) -> dict[str, Files]:
    """Group prediction files by what their names have in common.

    Args:
        files: of one method.
        cases: ids that are expected; only theirs can have numbered files, one a class.
    """
    groups: dict[str, Files] = defaultdict(Files)
    plain = {plain_name(case) for case in cases}
    for path in files:
        stem = stem_of(path)
        bids, numbered = _BIDS.fullmatch(stem), NUMBERED.fullmatch(stem) or _ANTS.fullmatch(stem)
        if bids:
            key, label = _bids_key(bids["entities"])
            if bids["kind"] == "dseg":
                groups[key].segmentation.append(path)
            elif label:
                groups[key].by_class[label] = path
            else:
                groups[key].whole.append(path)
        elif numbered and stem not in cases and plain_name(numbered["case"]) in plain:
            groups[numbered["case"]].by_class[numbered["number"]] = path
        else:
            groups[stem].whole.append(path)
    return dict(groups)


def group_by_pattern(
    files: Iterable[Path], pattern: str, classes: Iterable[str] = ()
) -> tuple[dict[str, Files], list[str]]:
    """Group prediction files by a pattern; also give the names that it does not fit.

    Args:
        files: of one method.
        pattern: as in `{case}_softmax` or `{case}_{class}`, with or without suffix.
        classes: known names, which `{class}` may stand for although they hold underscores.

    Raises:
        UsageError: a pattern without `{case}`, or with anything else in braces.
    """
    expression = read_pattern(pattern, ("case",), ("class",), {"class": classes})
    groups: dict[str, Files] = defaultdict(Files)
    others = []
    for path in files:
        match = expression.fullmatch(stem_of(path)) or expression.fullmatch(path.name)
        if not match:
            others.append(path.name)
        elif match.groupdict().get("class_"):
            groups[match["case_"]].by_class[match["class_"]] = path
        else:
            groups[match["case_"]].whole.append(path)
    return dict(groups), others


def read_pattern(
    pattern: str,
    needed: Sequence[str],
    allowed: Sequence[str] = (),
    known: Mapping[str, Iterable[str]] | None = None,
    *,
    option: str = "--pattern '{case}_softmax'",
) -> re.Pattern[str]:
    """Turn a pattern of file names into an expression; each field is a group named with an underscore behind it.

    A field that is a whole part of a path may hold underscores.

    Args:
        pattern: as in `{case}_{class}`.
        needed: fields that it must have, once each.
        allowed: fields that it may have, at most once each.
        known: values that a field can have beside any word without an underscore; the longest comes first.
        option: that gave the pattern, with an example, for messages.

    Raises:
        UsageError: a field that is missing, twice, or neither needed nor allowed.
    """
    fields = re.findall(r"{.*?}|[{}]", pattern)
    names = [field[1:-1] for field in fields]
    if len(set(names)) < len(names) or not set(needed) <= set(names) <= {*needed, *allowed}:
        wanted = " and ".join(f"{{{name}}}" for name in needed)
        optional = "".join(f", and at most one {{{name}}}" for name in allowed)
        name, _, example = option.partition(" ")
        raise UsageError(f"{name} {pattern!r}: expected {wanted} in it once{optional}, as in {example}.")
    expression = re.escape(pattern)
    for name in names:
        words = sorted(map(re.escape, (known or {}).get(name, ())), key=len, reverse=True)
        word = "[^/]+" if f"{{{name}}}" in pattern.split("/") else "[^_/]+"
        value = "[^/]+?" if name == "case" else "|".join([*words, word])
        expression = expression.replace(rf"\{{{name}\}}", f"(?P<{name}_>{value})")
    return re.compile(expression)


def _bids_key(entities: str) -> tuple[str, str]:
    """Key without label and description, and the label."""
    parts = [part for part in entities.split("_") if not part.startswith(("label-", "desc-"))]
    label = next((part.removeprefix("label-") for part in entities.split("_") if part.startswith("label-")), "")
    return "_".join(parts), label
