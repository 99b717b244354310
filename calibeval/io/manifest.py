"""A CSV that says which files belong together, where names do not."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from calibeval.errors import UsageError
from calibeval.files import read_csv
from calibeval.io.pairing import CasePaths, Pairing, check_case_names

_EXPECTED = ("case", "prediction", "reference")


def read_manifest(path: Path) -> dict[str, Pairing]:
    """Read a CSV with the columns case, prediction, reference and, if wanted, method and segmentation.

    Paths are relative to the manifest. Several prediction files (one a class) are parted by semicolons. An empty
    reference means that the prediction's NPZ holds the label; a prediction that is empty or not there is missing.

    Raises:
        UsageError: no such file, no such table, or a case twice.
    """
    methods: dict[str, list[CasePaths]] = defaultdict(list)
    for line, row in read_csv(path, _EXPECTED, delimiters=",")[1]:
        if not row["case"]:
            raise UsageError(f"{path}: line {line} names no case.")
        if not row["prediction"] and not row["reference"]:
            raise UsageError(f"{path}: line {line} names neither prediction nor reference.")
        method = row.get("method") or path.stem
        if Path(method).name != method:
            raise UsageError(f"{path}: line {line} names the method {method!r}, which cannot be a file name.")
        try:
            methods[method].append(_case(path.parent, row))
        except OSError as error:  # a name that no file can have
            raise UsageError(f"{path}: line {line}: {error.strerror}.") from error
    for method, cases in methods.items():
        check_case_names([case.case for case in cases], f"{path}, method {method}")
    return {method: Pairing(sorted(cases), []) for method, cases in methods.items()}


def _case(folder: Path, row: dict[str, str]) -> CasePaths:
    files = tuple(folder / part.strip() for part in row["prediction"].split(";") if part.strip())
    reference = _path(folder, row["reference"])
    if reference:
        reference.exists()  # raises where the name cannot be
    gone = [file for file in files if not file.exists()]
    if gone or not files:
        why = f"the manifest names {gone[0]}, which is not there" if gone else "the manifest names none"
        return CasePaths(row["case"], (), reference=reference, why=why)
    return CasePaths(
        row["case"],
        files,
        tuple(str(number) for number in range(len(files))) if len(files) > 1 else (),
        _path(folder, row.get("segmentation", "")),
        reference,
        "the manifest",
    )


def _path(folder: Path, text: str) -> Path | None:
    return folder / text if text else None
