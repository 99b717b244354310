"""`calibeval merge`: the shards of a scoring run put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibeval.cli.options import Quiet

Parts = Annotated[list[Path], typer.Argument(metavar="TABLES...", help="All tables of `calibeval score --shard i/n`.")]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Table to write, or a folder. Default: results/METHOD.csv.", show_default=False),
]


def merge(tables: Parts, *, out: Out = None, quiet: Quiet = False) -> None:
    """Put the shards of a scoring run together, to exactly the table that one run would have written."""
    from calibeval.cli.score_table import print_scores
    from calibeval.files import check_writable
    from calibeval.scoring.job import side_files, table_path, write_method
    from calibeval.scoring.merge import merge_parts

    merged = merge_parts(tables)
    paths = {score.method: table_path(out, score.method, len(merged)) for score, _ in merged}
    check_writable(file for path in paths.values() for file in side_files(path))
    for score, job in merged:
        write_method(paths[score.method], score, job)
    if not quiet:
        print_scores([score for score, _ in merged], paths, merged[0][1].protocol)
