"""Kill renders at random moments, run them again, and compare: is what comes of it what an unbroken run makes?

    python scripts/torture.py --runs 100 --models luma-key,modnet

Each run draws a model, an encoding, whether an old output is there to be replaced (-y), and whether mattes of earlier
runs are kept. The command is started, killed by SIGKILL once or several times, anywhere within its time or close to its
end, and then run to its end. All the while the output's name is watched: under it lies the old output, the whole new
one, or nothing, if nothing was there. (A folder cannot replace another in one step: for the time between two renames,
nothing is there; a kill in between is mended by the next run.) In the end the bytes are those of a run that nobody
killed, and nothing else is left beside the output or half-written among the kept mattes.

Exits with 1 if one run fails. The draws follow from --seed; where the kills strike, from the machine as well.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vmatte.encodings import ENCODINGS
from vmatte.models.weights import cache_folder
from vmatte.sidecar import sidecar_of

FRAMES, SEGMENT_FRAMES = 40, 8
WIDTH, HEIGHT, RATE, SAMPLE_RATE = 128, 96, 25, 48_000
POLL_S = 0.002
TORTURED = [
    name for name, row in ENCODINGS.items() if not row.codec.endswith(("_nvenc", "_videotoolbox"))
]  # these need a card, or a Mac
Content = tuple[tuple[str, str], ...] | None
"""(name, sha256) of each file that lies under a name, which may be a folder; None where there is nothing."""


def make_clip(path: Path) -> None:
    """A bright disc that wanders over noise, with a tone."""
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=RATE, options={"crf": "18", "g": "12"})
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number in range(FRAMES):
            inside = (x - 30 - 1.5 * number) ** 2 + (y - 48) ** 2 < 24**2
            rgb = noise.integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8) + np.uint8(160) * inside[..., None]
            frame = VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(picture.encode(frame))
        times = np.arange(FRAMES * SAMPLE_RATE // RATE) / SAMPLE_RATE
        for start in range(0, len(times), 1024):
            wave = 0.2 * np.sin(2 * np.pi * 440 * times[start : start + 1024])
            samples = av.AudioFrame.from_ndarray(wave.astype("<f4")[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts = SAMPLE_RATE, start
            container.mux(sound.encode(samples))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))


def content_of(path: Path) -> Content:
    """What lies under a name at one moment."""
    while True:
        try:
            before = path.stat().st_ino
            if path.is_dir():
                # By the folder itself: were it replaced meanwhile, names of one would be looked up in the other.
                folder = os.open(path, os.O_RDONLY)
                try:
                    names = sorted(os.listdir(folder))
                    found = tuple((name, _sha256(name, folder)) for name in names)
                finally:
                    os.close(folder)
            else:
                found = ((path.suffix, _sha256(str(path))),)
            if path.stat().st_ino == before:
                return found
        except FileNotFoundError:
            if not path.exists():
                return None


def _sha256(name: str, folder: int | None = None) -> str:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Watch:
    """Looks at a name again and again, and remembers what must not be there."""

    def __init__(self, path: Path, allowed: Callable[[Content], bool]) -> None:
        self.faults: list[str] = []
        self._path, self._allowed = path, allowed
        self._seen: tuple[int, ...] | None = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                state = self._path.stat()
                seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            except FileNotFoundError:
                seen = None
            if seen != self._seen:
                self._seen = seen
                content = content_of(self._path)
                if not self._allowed(content):
                    self.faults.append("nothing under its name" if content is None else "neither the old nor the new")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to render."""

    model: str
    encoding: str

    def command(self, clip: Path, folder: Path, *options: str) -> list[str]:
        background = ["--bg", "navy"] if ENCODINGS[self.encoding].pix_fmt_alpha is None else []
        words = ["run", clip, "-o", self.output(folder), "--format", self.encoding, "--model", self.model]
        words += ["--segment-frames", SEGMENT_FRAMES, "--device", "cpu", "-q", *background, *options]
        return [sys.executable, "-m", "vmatte", *map(str, words)]

    def output(self, folder: Path) -> Path:
        return folder / f"out{ENCODINGS[self.encoding].suffix}"


@dataclass(slots=True)
class Outcome:
    """What became of one run."""

    case: Case
    overwrite: bool
    reused: bool
    struck: list[str] = field(default_factory=list)
    """Where the kills came: so many segments done, or the step at the end."""
    faults: list[str] = field(default_factory=list)


def start(command: list[str], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=os.environ | {"VMATTE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def hidden(output: Path) -> Path:
    return output.with_name(f".{output.name}.vmatte")


NO_FOLDER, JOINING, PUBLISHING = "no folder", "joining", "publishing"
SEGMENTS = [f"{number} segments" for number in range(FRAMES // SEGMENT_FRAMES + 1)]
NOT_YET = {
    "rendering": [NO_FOLDER],
    "joining": [NO_FOLDER, *SEGMENTS],
    "publishing": [NO_FOLDER, *SEGMENTS, JOINING],
}
"""Where a render stands that has not yet come to a step."""


def where_it_stands(output: Path) -> str:
    """How far a render has come, by what lies in its hidden folder."""
    work = hidden(output)
    if (work / "published.json").exists():
        return PUBLISHING
    if list(work.glob("whole*")):
        return JOINING
    return SEGMENTS[len(list((work / "segments").glob("*.json")))] if work.exists() else NO_FOLDER


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that the steps of a render take."""

    beginning: float
    rendering: float
    joining: float = 0.03
    publishing: float = 0.006


def kill(process: subprocess.Popen[str], output: Path, pace: Pace, random: Random) -> str | None:
    """Kill it as it begins, as it renders or in its last steps; None where it was quicker."""
    aim = random.choice(["beginning", "rendering", "rendering", "rendering", "joining", "publishing"])
    delay = random.uniform(0, getattr(pace, aim))
    while process.poll() is None:
        if aim == "beginning" or where_it_stands(output) not in NOT_YET[aim]:
            time.sleep(delay)
            break
        time.sleep(0.0002)
    stood = where_it_stands(output)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return stood


def new_cache(path: Path) -> Path:
    """A cache without mattes, which shares the weights."""
    path.mkdir()
    (path / "weights").symlink_to((cache_folder() / "weights").absolute())
    return path


def put_old(output: Path, encoding: str) -> None:
    if ENCODINGS[encoding].is_sequence:
        output.mkdir()
        for number in range(FRAMES + 3):
            (output / f"{number:06d}.png").write_text(f"old {number}")
    else:
        output.write_text("old")


def torment(case: Case, wanted: Content, pace: Pace, clip: Path, folder: Path, kept: Path, random: Random) -> Outcome:
    """One run: killed, begun again, compared."""
    outcome = Outcome(case, overwrite=random.random() < 0.5, reused=random.random() < 0.5)
    place = folder / "place"
    place.mkdir(parents=True)
    cache = kept if outcome.reused else new_cache(folder / "cache")
    output = case.output(place)
    old: Content = None
    if outcome.overwrite:
        put_old(output, case.encoding)
        old = content_of(output)
    gap = ENCODINGS[case.encoding].is_sequence
    command = case.command(clip, place, *(["-y"] if outcome.overwrite else []))
    with Watch(output, lambda content: content in (old, wanted) or (content is None and gap)) as watch:
        for _ in range(random.choice([1, 1, 2, 3])):
            stood = kill(start(command, cache), output, pace, random)
            if stood is None:
                break
            outcome.struck.append(stood)
        process = start(command, cache)
        _, said = process.communicate()
    outcome.faults += sorted(set(watch.faults))
    # Killed after its very last step, it has nothing left to say but this.
    finished_before = process.returncode == 2 and ("exists; give -y" in said or "not empty; give -y" in said)
    if process.returncode != 0 and not finished_before:
        outcome.faults.append(f"ended with {process.returncode}: {said.strip()}")
    if content_of(output) != wanted:
        outcome.faults.append("other bytes than an unbroken run's")
    entries, sidecar = {entry.name for entry in place.iterdir()}, sidecar_of(output).name
    if strangers := sorted(entries - {output.name, sidecar}):
        outcome.faults.append(f"left behind: {', '.join(strangers)}")
    if sidecar not in entries:
        outcome.faults.append("no sidecar")
    if parts := sorted(path.name for path in (cache / "mattes").rglob("*.part*")):
        outcome.faults.append(f"half-written mattes: {', '.join(parts)}")
    return outcome


def unbroken(case: Case, clip: Path, folder: Path, cache: Path) -> tuple[Content, Pace]:
    """What a run makes that nobody kills, and how long that takes."""
    folder.mkdir()
    output = case.output(folder)
    started = time.monotonic()
    process = start(case.command(clip, folder, "--no-cache"), cache)
    while process.poll() is None and not hidden(output).exists():
        time.sleep(POLL_S)
    began = time.monotonic()
    _, said = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{case.model} as {case.encoding} cannot be rendered at all: {said}")
    return content_of(output), Pace(began - started, time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--models", default="luma-key,modnet", help="names of `vmatte models`, with commas")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    with tempfile.TemporaryDirectory(prefix="vmatte-torture-") as home:
        folder = Path(home)
        clip = folder / "clip.mp4"
        make_clip(clip)
        kept = new_cache(folder / "kept")
        references: dict[Case, tuple[Content, Pace]] = {}
        failed = 0
        print(f"{'run':>4} {'model':9} {'encoding':11} {'-y':3} {'mattes':7} {'killed at':40} outcome", flush=True)
        for number in range(arguments.runs):
            random = Random(f"{arguments.seed} {number}")
            case = Case(random.choice(models), random.choice(TORTURED))
            if case not in references:
                references[case] = unbroken(case, clip, folder / f"{case.model}-{case.encoding}", kept)
            wanted, pace = references[case]
            outcome = torment(case, wanted, pace, clip, folder / f"run-{number}", kept, random)
            failed += bool(outcome.faults)
            print(
                f"{number:4} {case.model:9} {case.encoding:11} {'-y' if outcome.overwrite else '':3} "
                f"{'reused' if outcome.reused else 'fresh':7} {', '.join(outcome.struck) or '-':40} "
                f"{'; '.join(outcome.faults) or 'identical'}",
                flush=True,
            )
    print(f"{'FAIL' if failed else 'PASS'}: {arguments.runs - failed} of {arguments.runs} runs left what they should")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
