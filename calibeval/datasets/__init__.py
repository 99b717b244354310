"""Data sets as their owners offer them, brought into nnU-Net's form: `calibeval prepare`.

A module a data set lists its cases, without reading voxels; `table` holds what else is known of each; `grid` resamples,
crops and pads through SimpleITK (extra `prepare`); `preparation` writes one case after the other.
"""

from calibeval.datasets.preparation import Outcome, Preparation, plan_preparation, prepare
from calibeval.datasets.table import DATA_SETS, recognise

__all__ = ["DATA_SETS", "Outcome", "Preparation", "plan_preparation", "prepare", "recognise"]
