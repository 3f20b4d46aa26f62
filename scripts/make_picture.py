"""Make the README's picture: a frame of the sample before, its matte, and the same frame after.

python scripts/make_picture.py --out docs/before-matte-after.jpg
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

import vmatte

SAMPLES = Path(__file__).parent.parent / "samples"


def frame_of(clip: Path, number: int) -> Image.Image:
    """Frame `number` of a finished file, as another program would show it."""
    with av.open(str(clip)) as container:
        return next(islice(container.decode(video=0), number, None)).to_image()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frame", type=int, default=70)
    parser.add_argument("--width", type=int, default=560, help="of each of the three")
    options = parser.parse_args()

    matte = next(islice(vmatte.matte(SAMPLES / "avatar.mp4", model="modnet"), options.frame, None))
    with tempfile.TemporaryDirectory() as folder:
        composite = Path(folder) / "composite.mp4"
        vmatte.run(SAMPLES / "avatar.mp4", background=SAMPLES / "studio.png", output=composite, model="modnet")
        after = frame_of(composite, options.frame)
    grey = np.rint(matte.alpha[0].numpy() * 255).astype(np.uint8)
    pictures = [frame_of(SAMPLES / "avatar.mp4", options.frame), Image.fromarray(grey), after]
    height = options.width * after.height // after.width
    sheet = Image.new("RGB", (3 * options.width, height))
    for place, picture in enumerate(pictures):
        scaled = picture.convert("RGB").resize((options.width, height), Image.Resampling.LANCZOS)
        sheet.paste(scaled, (place * options.width, 0))
    sheet.save(options.out, quality=90)


if __name__ == "__main__":
    main()
