"""ID photos on a sheet of photo paper, at their true size, with marks to cut along."""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from vmatte.errors import JobError
from vmatte.stills.sizes import MM_AN_INCH, IdPhoto

_GAP_MM = 3.0
"""Between two photos, and at least beside them: printers leave no less white at the paper's edge."""
_MARK_MM = 2.0
_INK = 128
"""Gray of the marks."""


def print_sheet(photo: NDArray[np.uint8], size: IdPhoto, paper_mm: tuple[float, float]) -> NDArray[np.uint8]:
    """As many of a photo (H, W, 3) as fit on paper of (width, height) mm, turned as more of them fit: (H, W, 3).

    Marks stand outside the photos, on the lines to cut along. JobError where not one fits.
    """
    rows, columns, paper_mm = max(
        (_fitting(size, side) for side in (paper_mm, paper_mm[::-1])), key=lambda fitting: fitting[0] * fitting[1]
    )
    if rows * columns == 0:
        raise JobError(
            f"{size.name} of {size.width_mm:g}×{size.height_mm:g} mm does not fit on paper of "
            f"{paper_mm[0]:g}×{paper_mm[1]:g} mm; give a larger sheet"
        )
    width, height = (round(mm * size.dots) for mm in paper_mm)
    gap, mark = round(_GAP_MM * size.dots), round(_MARK_MM * size.dots)
    tall, wide = photo.shape[:2]
    tops, lefts = (
        [(whole - (count * side + (count - 1) * gap)) // 2 + each * (side + gap) for each in range(count)]
        for whole, count, side in ((height, rows, tall), (width, columns, wide))
    )
    sheet = np.full((height, width, 3), 255, np.uint8)
    down = slice(tops[0] - mark, tops[-1] + tall + mark)
    across = slice(lefts[0] - mark, lefts[-1] + wide + mark)
    for top in tops:
        sheet[[top - 1, top + tall], across] = _INK
    for left in lefts:
        sheet[down, [left - 1, left + wide]] = _INK
    for top in tops:
        for left in lefts:
            sheet[top : top + tall, left : left + wide] = photo
    return sheet


def _fitting(size: IdPhoto, paper_mm: tuple[float, float]) -> tuple[int, int, tuple[float, float]]:
    """Rows and columns of photos on a paper, and that paper. A photo's own rounding to pixels counts."""
    wide, tall = (pixels / size.dpi * MM_AN_INCH for pixels in size.pixels)
    columns, rows = (
        max(0, floor((paper - _GAP_MM) / (side + _GAP_MM))) for paper, side in zip(paper_mm, (wide, tall), strict=True)
    )
    return rows, columns, paper_mm
