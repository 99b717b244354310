"""Mending a model without training it again.

On arrays: `fit` and `apply`, with `write_calibrator` and `read_calibrator` between them. On files: `applying`,
`evaluate` and the commands `calibeval calibrate fit|apply|evaluate`.
"""

from calibeval.calibrate.arrays import apply, fit
from calibeval.calibrate.calibrator import Calibrator, read_calibrator, write_calibrator
from calibeval.calibrate.methods import METHODS

__all__ = ["METHODS", "Calibrator", "apply", "fit", "read_calibrator", "write_calibrator"]
