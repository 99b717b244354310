"""Slices of the worst cases of each method, where the model is sure and wrong."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calibeval.errors import CalibevalError, describe
from calibeval.plots.slice_panels import slices
from calibeval.plots.style import figure_of, render
from calibeval.plots.volumes import Volumes
from calibeval.report.casewise import CaseNumbers
from calibeval.report.collect import Entry
from calibeval.report.page import Gap, Method, Slice
from calibeval.wording import number

_QUALITY = 80  # of WebP
_WIDTH = 720  # pixels


def slices_of(
    entries: Sequence[Entry], methods: Sequence[Method], worst: Iterable[CaseNumbers], volumes: Volumes | Gap
) -> Iterator[Slice | Gap]:
    """A picture of each case, or why there is none; one case is read at a time."""
    if isinstance(volumes, Gap):
        yield volumes
        return
    for case in worst:
        method, entry = methods[case.method], entries[case.method]
        try:
            volume = volumes.read(entry.rows[0].method, case.case)
            axes = slices(volume, size="column")[0]
        except (CalibevalError, OSError, MemoryError) as error:
            yield Gap(f"{case.case}, {method.name}", describe(error))
            continue
        place = re.findall(r"slice \d+ of \d+$", axes.get_title(loc="left"))
        axes.set_title("", loc="left")  # which the page says itself
        numbers = [f"{name} {number(value)}" for name, value in case.values.items() if number(value)]
        words = ", ".join([*place, *numbers, *["no image"] * (volume.image is None)])
        yield Slice(method, case.case, words, _webp(render(figure_of(axes), ".png", tight=True)))


def _webp(png: bytes) -> str:
    """A picture as an address that holds it."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((_WIDTH, 4 * _WIDTH))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def find_volumes(preds: Path | None, labels: Path | None, images: Path | None) -> Volumes | Gap:
    """The folders, or what they lack."""
    if preds is None or labels is None:
        return Gap("", "No volumes were given: --preds DIR --labels DIR --images DIR show slices of the worst cases.")
    try:
        return Volumes.find(preds, labels, images)
    except CalibevalError as error:
        return Gap("", str(error))
