"""What other readers find in a file: the second opinion of `targets`. None where they refuse it or differ on purpose.

ITK dies of some headers, so it is asked in a process of its own.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import warnings
from typing import Any

import numpy as np

from tests.case_files import read_nifti

KEYS = ("image",)


class Elsewhere:
    """A function in another process, which is started anew when the function kills it."""

    def __init__(self, function):
        self._function, self._process, self._pipe = function, None, None

    def __call__(self, path):
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._pipe.send(path)
            return self._pipe.recv() if self._pipe.poll(20) else self._stop()
        except (EOFError, OSError):  # it died of this file
            return self._stop()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, other), daemon=True)
        self._process.start()
        other.close()

    def _stop(self):
        self._process.kill()
        self._process.join()
        self._process = None


def _serve(function, pipe):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    be_silent()
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        pipe.send(opinion(function, path))


def be_silent():
    """Nothing that libraries in C print comes out of this process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)


def opinion(function, path):
    """What another reader gives; None where it refuses."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return function(path)
        except Exception:
            return None


def by_nibabel(path):
    return np.asarray(read_nifti(path).dataobj.get_unscaled()).T


def by_nibabel_mgh(path):
    return np.asarray(read_nifti(path).dataobj).T


def by_numpy(path):
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as arrays:
        names = arrays.files
        return arrays[next((key for key in KEYS if key in names), names[0])]


def by_pynrrd(path):
    import nrrd

    return nrrd.read(str(path), index_order="C")[0]


def by_h5py(path):
    import h5py

    with h5py.File(path, "r") as file:
        return file[KEYS[0]][()]


def by_tifffile(path):
    import tifffile

    with tifffile.TiffFile(path) as file:
        pages: Any = file.pages
        if any(page.photometric == 0 or getattr(page.tags.get(274), "value", 1) != 1 for page in pages):
            return None  # white is 0, or the page is turned: Pillow turns values and pages, tifffile leaves them
        found = np.stack([page.asarray() for page in pages])
    return found if len(found) > 1 else found[0]


def _itk(path):
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


by_itk = Elsewhere(_itk)
