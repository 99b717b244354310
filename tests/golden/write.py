"""Write the golden table anew: python tests/golden/write.py. Look at the difference before committing it."""

from pathlib import Path

from calibeval import score_folder
from calibeval.table import render_table

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "sample_data"
KEPT = ("phantom_001", "phantom_002", "pooled")  # pooled is over all cases


def golden_rows():
    """Every metric of two cases and of all cases pooled, for the three methods of the sample."""
    methods = score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="all").methods
    return [row for method in methods for row in method.rows if row.case in KEPT], methods[0].signature


if __name__ == "__main__":
    rows, signature = golden_rows()
    (HERE / "sample.csv").write_text(render_table(rows, signature=signature), encoding="utf-8")
