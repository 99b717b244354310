"""The table of lesions, `NAME.lesions.csv` beside `NAME.csv`: one row a lesion, and what the rows tell together.

`case,class,lesion,voxels,volume_mm3,matched,DSC,HD95,NSD,mean_confidence,max_confidence`. `lesion` is `r` and the
number of a lesion of the reference, or `p` and that of a false positive; `matched` is 1 where the reference's was
found. A number that does not exist is an empty field. Confidence is the prediction's within what found the lesion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from calibeval import escape
from calibeval.delimited import read_frame, read_sheet, to_number
from calibeval.errors import TableError
from calibeval.files import write_text
from calibeval.table import field

SUFFIX = ".lesions.csv"
COLUMNS = (
    "case", "class", "lesion", "voxels", "volume_mm3", "matched", "DSC", "HD95", "NSD", "mean_confidence",
    "max_confidence",
)  # fmt: skip


class LesionRow(NamedTuple):
    """One lesion; the field order is `COLUMNS`, NaN stands for what does not exist.

    Attributes:
        case: id.
        class_name: class or region.
        lesion: `r1` of the reference, `p1` a false positive.
        voxels: its size.
        volume_mm3: its volume.
        matched: 1 where it was found.
        dsc: with what found it.
        hd95: the same, by the protocol's definition.
        nsd: the same.
        mean_confidence: of the prediction's probability within what found it, or within the false positive.
        max_confidence: the largest.
    """

    case: str
    class_name: str
    lesion: str
    voxels: int
    volume_mm3: float
    matched: int = 0
    dsc: float = math.nan
    hd95: float = math.nan
    nsd: float = math.nan
    mean_confidence: float = math.nan
    max_confidence: float = math.nan

    @property
    def in_reference(self) -> bool:
        """Whether it is a lesion of the reference."""
        return self.lesion.startswith("r")


def lesions_path(table: Path) -> Path:
    """Where the lesions of a results table lie."""
    return table.with_name(table.name.removesuffix(".csv") + SUFFIX)


def without_lesion_tables(paths: Iterable[Path]) -> list[Path]:
    """What `results/*.csv` means where lesions were scored: the results tables."""
    return [path for path in paths if not path.name.endswith(SUFFIX)]


def write_lesions(path: Path, rows: Iterable[LesionRow]) -> None:
    """Write lesions to a CSV file, all or nothing."""
    lines = [COLUMNS, *([str(value) if isinstance(value, int) else field(value) for value in row] for row in rows)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def read_lesions(path: Path) -> list[LesionRow]:
    """Read a table of lesions.

    Raises:
        TableError: no such table, or a field that is no number.
    """
    frame = read_frame(read_sheet(path))
    if missing := [name for name in COLUMNS if name not in frame]:
        raise TableError(f"{path}: is no table of lesions; it lacks the columns {', '.join(missing)}.")
    frame[["case", "class"]] = frame[["case", "class"]].apply(escape.uncell)
    return [_row(path, line, *cells) for line, *cells in frame[list(COLUMNS)].itertuples()]


def _row(path: Path, line: int, case: str, class_name: str, lesion: str, *cells: str) -> LesionRow:
    try:
        voxels, volume, matched, *rest = map(to_number, cells)
        return LesionRow(case, class_name, lesion, int(voxels), volume, int(matched), *rest)
    except ValueError as error:
        raise TableError(f"{path}: line {line}: expected numbers from voxels on ({error}).") from error
