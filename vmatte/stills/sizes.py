"""The sizes of ID photos and of the paper that they are printed on, with the rules that they come from; pure data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmatte.errors import JobError

MM_AN_INCH = 25.4
COLORS = {"white": (255, 255, 255), "blue": (67, 142, 219), "red": (217, 0, 27)}
"""What photographers in China mean by these words for the ground of an ID photo: #438edb and #d9001b are customary, no
standard has them."""


@dataclass(frozen=True, slots=True)
class IdPhoto:
    """The size of a photo and how the head lies in it, in millimetres on paper.

    `head_mm` is the least and the greatest height of the head, from the top of the hair to the chin; `top_mm` what is
    above it.
    """

    name: str
    width_mm: float
    height_mm: float
    head_mm: tuple[float, float]
    top_mm: float
    dpi: int = 300

    @property
    def pixels(self) -> tuple[int, int]:
        """(width, height)."""
        return round(self.width_mm * self.dots), round(self.height_mm * self.dots)

    @property
    def dots(self) -> float:
        """Pixels a millimetre."""
        return self.dpi / MM_AN_INCH


ID_PHOTOS: dict[str, IdPhoto] = {
    photo.name: photo
    for photo in (
        # One and two "inches" (寸) of Chinese photo studios. No standard has the head: some six tenths of the height,
        # and a tenth of it above, are customary.
        IdPhoto("1inch", 25, 35, head_mm=(19, 23), top_mm=3.5),
        IdPhoto("small-1inch", 22, 32, head_mm=(17, 21), top_mm=3),
        IdPhoto("2inch", 35, 49, head_mm=(26, 32), top_mm=5),
        # China's passports and visas: head 28 to 33 mm high and 15 to 22 mm wide, 3 to 5 mm above it, 7 mm or more
        # below the chin (National Immigration Administration, photo requirements).
        IdPhoto("cn-passport", 33, 48, head_mm=(28, 33), top_mm=4),
        # United States: 2 × 2 inches, head 1 to 1 3/8 inches, eyes 1 1/8 to 1 3/8 inches above the lower edge (9 FAM
        # 303.6; travel.state.gov, photo requirements). Eyes lie in the middle of a head, hair included, or a little
        # below it: 1 3/16 inches and this room above put them at 1 1/4.
        IdPhoto("us-visa", 50.8, 50.8, head_mm=(27, 33.5), top_mm=4.5),
        # Schengen visas and passports in the European Union: 35 × 45 mm, head 32 to 36 mm, after ICAO Doc 9303 part 3
        # (70 to 80 % of the height).
        IdPhoto("eu", 35, 45, head_mm=(32, 36), top_mm=4),
    )
}
SHEETS_MM: dict[str, tuple[float, float]] = {
    "4x6in": (101.6, 152.4),
    "6inch": (101.6, 152.4),
    "5inch": (88.9, 127.0),
    "a4": (210.0, 297.0),
}
"""(width, height) of photo paper."""
_NUMBER = r"(\d{1,3}(?:\.\d+)?)"


def find_id_photo(word: str) -> IdPhoto:
    """By its name, or of any size: `33x48mm`, `33x48mm@600`. JobError for what is neither."""
    found = ID_PHOTOS.get(word.lower())
    if found is not None:
        return found
    parts = re.fullmatch(rf"{_NUMBER}x{_NUMBER}mm(?:@(\d{{2,4}})(?:dpi)?)?", word.lower())
    if parts is None:
        raise JobError(f"no ID photo is called {word!r}; there are: {', '.join(ID_PHOTOS)}, or WxHmm@DPI: 33x48mm@300")
    width, height, dpi = float(parts[1]), float(parts[2]), int(parts[3] or 300)
    if not (10 <= width <= 300 and 10 <= height <= 300 and 72 <= dpi <= 1200):
        raise JobError(f"ID photo {word!r}: a side has 10 to 300 mm, and an inch 72 to 1200 dots")
    return IdPhoto(word, width, height, (0.55 * height, 0.7 * height), 0.1 * height, dpi)


def find_sheet(word: str) -> tuple[float, float]:
    """(width, height) in millimetres of paper: a name, or `150x100mm`. JobError for what is neither."""
    found = SHEETS_MM.get(word.lower())
    if found is not None:
        return found
    parts = re.fullmatch(rf"{_NUMBER}x{_NUMBER}mm", word.lower())
    if parts is None:
        raise JobError(f"no sheet is called {word!r}; there are: {', '.join(SHEETS_MM)}, or WxHmm: 150x100mm")
    return float(parts[1]), float(parts[2])
