"""Whether four digits at the end of image names are channels of a case or the ids of cases: decided per folder.

nnU-Net names the channels of an image `case_0000`, `case_0001`, ...; other data sets count their patients so
(`amos_0001`, `word_0002`). A single name does not tell; the names of a whole folder, of the labels or predictions that
belong to it, and the number of channels in a `dataset.json` nearly always do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from calibeval.errors import UsageError
from calibeval.io.arrays import stem_of
from calibeval.io.naming import NUMBERED, bare_name

_FIRST = "0000"
Numbered = dict[str, dict[str, Path]]


def group_channels(
    files: Iterable[Path],
    labels: Collection[str] | None = None,
    channel_names: Collection[object] | None = None,
    channels: int | None = None,
) -> dict[str, tuple[Path, ...]]:
    """Group image files into cases, each with its channels in their order.

    Args:
        files: images of one folder.
        labels: names of the labels, or of other files that are named after cases; None where there are none.
        channel_names: those that `dataset.json` gives, or anything as long as a case has channels; None if unknown.
        channels: files a case, as the user says with `--channels`; comes before everything else.

    Returns:
        Case id to its files, by name. A case may still lack its last channels: its image has too few then.

    Raises:
        UsageError: two files of one name, both readings fit, or a channel is missing before another.
    """
    alone = _by_stem(files)
    numbered = _by_channel(alone)
    if _are_channels(alone, numbered, set(labels or ()), len(channel_names or ()), channels):
        return {case: _ordered(case, numbered[case]) for case in sorted(numbered)}
    return {stem: (alone[stem],) for stem in sorted(alone)}


def _by_stem(files: Iterable[Path]) -> dict[str, Path]:
    alone: dict[str, Path] = {}
    for path in sorted(files):
        if path != alone.setdefault(stem_of(path), path):
            raise UsageError(f"Two images of one name: {alone[stem_of(path)]} and {path.name}. Keep one.")
    return alone


def _by_channel(alone: dict[str, Path]) -> Numbered:
    """Files by case and channel; a name without a number is a case of one channel."""
    numbered: Numbered = defaultdict(dict)
    for stem, path in alone.items():
        match = NUMBERED.fullmatch(stem)
        case, number = (match["case"], match["number"]) if match else (stem, _FIRST)
        numbered[case][number] = path
    return numbered


def _are_channels(
    alone: dict[str, Path], numbered: Numbered, labels: set[str], expected: int, channels: int | None
) -> bool:
    """Whether the numbers are channels; False takes them for part of the ids."""
    counted = {case: sorted(map(int, found)) == list(range(len(found))) for case, found in numbered.items()}
    sizes = [len(found) for found in numbered.values()]
    twice = sum(sizes) < len(alone)  # `a` beside `a_0000`
    if twice or alone.keys() == numbered.keys():
        return False
    if channels is not None:
        return channels > 1 or (max(sizes) == 1 and all(counted.values()))
    known = labels | {bare_name(name) for name in labels}
    as_cases, as_channels = known & (alone.keys() - numbered.keys()), known & (numbered.keys() - alone.keys())
    if bool(as_cases) != bool(as_channels):
        return bool(as_channels)
    if expected:  # a case that lacks a channel, or has one too many, costs itself alone
        whole = sum(len(numbered[case]) == expected for case, fits in counted.items() if fits)
        return 2 * whole >= len(sizes)
    if (as_cases or len(sizes) == 1 < sizes[0]) and all(counted.values()):
        raise UsageError(_two_readings(alone, numbered))
    return all(counted.values()) and len(set(sizes)) == 1


def _ordered(case: str, found: dict[str, Path]) -> tuple[Path, ...]:
    for place, number in enumerate(sorted(found)):
        if int(number) != place:
            raise UsageError(
                f"The image {case} in {found[number].parent} has the channels {', '.join(sorted(found))}; expected "
                f"{place:04d} among them. If the numbers are part of the ids: --channels 1."
            )
    return tuple(found[number] for number in sorted(found))


def _two_readings(alone: dict[str, Path], numbered: Numbered) -> str:
    case = max(numbered, key=lambda name: len(numbered[name]))
    folder = next(iter(alone.values())).parent
    return (
        f"{folder}: {', '.join(sorted(alone)[:3])} may be channels of {case}, or {len(alone)} cases. Say which: "
        f"--channels {len(numbered[case])} (files a case), or --channels 1."
    )
