"""Make the samples: `avatar.mp4`, an astronaut who speaks to camera, and `studio.png`, a plate to put behind her.

Only the portrait is found, all else is drawn and sung here, always alike: the seed is fixed.

    pip install -c constraints.txt ".[samples]"
    python scripts/make_samples.py --out samples
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

import vmatte

Array = NDArray[Any]

SEED = 11
WIDTH, HEIGHT, RATE = 1280, 720, 25
FRAMES = 6 * RATE
SAMPLE_RATE = 48_000
SAMPLES = FRAMES * SAMPLE_RATE // RATE
BT709 = 1  # H.273's code for primaries, transfer and matrix alike

# Places in the portrait at twice its size, in pixels.
CROWN, NECK, FACE, MOUTH = (430, 30), (445, 385), (450, 235), (448, 280)
EYES = ((405, 195, 209, 24), (495, 200, 214, 26))  # middle, upper lid, lower lid, half width
COLLAR = np.array([[318, 301], [330, 299], [345, 298], [370, 298], [374, 310], [318, 312]])  # where it meets her jaw
CROWN_IN_FRAME, ENLARGED = (640, 40), 1.06  # her arms then leave by the lower edge, and her helmet stays out

# The first three formants of a woman's vowels in Hz (Peterson & Barney 1952), how far they open and round the mouth.
VOWELS = (
    (850, 1220, 2810, 1.0, 0.1),
    (610, 2330, 2990, 0.6, -0.3),
    (310, 2790, 3310, 0.3, -0.5),
    (590, 920, 2710, 0.7, 0.8),
    (370, 950, 2670, 0.35, 1.0),
)
CLOTHS = ((0.30, 0.07, 0.05), (0.05, 0.09, 0.17), (0.08, 0.13, 0.08), (0.42, 0.35, 0.25), (0.10, 0.09, 0.08))
TOWN = np.array([[1, 0.62, 0.3], [1, 0.62, 0.3], [1, 0.85, 0.65], [0.5, 0.75, 1]])  # street lamps twice as often


@dataclass(frozen=True, slots=True)
class Pose:
    """One instant of the shot: lengths in pixels, the tilt in radians, the rest within about -1 to 1."""

    progress: float
    camera: tuple[float, float]
    body: tuple[float, float]
    head: tuple[float, float]
    turn: tuple[float, float]
    tilt: float
    breath: float
    blink: float
    opening: float
    rounding: float

    @property
    def zoom(self) -> float:
        return 1 + 0.03 * self.progress


# Portrait
def cut_out(portrait: Array) -> tuple[Array, Array]:
    """The portrait's straight foreground (H, W, 3) and alpha (H, W, 1), both in [0, 1]. Sides are multiples of 32."""
    image = portrait.astype(np.float32) / 255
    modnet = vmatte.load_model("modnet")
    alpha = modnet.predict(torch.from_numpy((image * 2 - 1).transpose(2, 0, 1))[None]).alpha[0, 0].numpy()

    # A portrait is one solid piece: drop the other blobs, and fill what its outline encloses.
    outlines, _ = cv2.findContours((alpha > 0.3).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solid = cv2.drawContours(np.zeros(alpha.shape, np.float32), [max(outlines, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    # MODNet takes a piece of the collar for background.
    inside = cv2.GaussianBlur(cv2.fillPoly(cv2.erode(solid, np.ones((9, 9))), [COLLAR], 1.0), (0, 0), 1.5)
    alpha = np.maximum(alpha * cv2.dilate(solid, np.ones((15, 15))), inside)
    alpha = np.clip((alpha[..., None] - 0.04) / 0.92, 0, 1)

    foreground = image
    for radius in (45, 6):
        foreground = blur_fusion(image, foreground, alpha, radius)
    return foreground, alpha


def blur_fusion(image: Array, foreground: Array, alpha: Array, radius: int) -> Array:
    """One step of blur fusion (Forte, Approximate Fast Foreground Colour Estimation, 2021). All (H, W, C) in [0, 1]."""

    def mean(colour: Array, weight: Array) -> Array:
        side = (2 * radius + 1, 2 * radius + 1)
        return cv2.blur(colour * weight, side) / (cv2.blur(weight, side)[..., None] + 1e-5)

    near, behind = mean(foreground, alpha), mean(image, 1 - alpha)
    return np.clip(near + alpha * (image - alpha * near - (1 - alpha) * behind), 0, 1)


def lit_by_room(foreground: Array) -> Array:
    """Dusk from the window at the left, the lamp from the right."""
    across = np.linspace(0, 1, foreground.shape[1], dtype=np.float32)[None, :, None]
    light = np.float32([0.77, 0.84, 0.94]) * (1 - across) + np.float32([0.99, 0.88, 0.77]) * across
    return np.clip(foreground * light, 0, 1)


# Room
def draw_room(rng: Generator) -> tuple[Array, Array]:
    """An office at dusk, and someone to walk through it: linear light, the latter with alpha, (810, 1440, 3 and 4)."""
    x, y = np.meshgrid(np.arange(720, dtype=np.float32), np.arange(405, dtype=np.float32))
    room = np.full((405, 720, 3), (0.44, 0.41, 0.38), np.float32)
    cv2.rectangle(room, (455, 40), (719, 404), (0.16, 0.10, 0.065), cv2.FILLED)
    for shelf in (120, 205, 290, 375):
        cv2.rectangle(room, (462, shelf - 72), (719, shelf - 8), (0.05, 0.035, 0.028), cv2.FILLED)
        for left in range(466, 712, 9):
            top, cloth = shelf - int(rng.integers(38, 66)), CLOTHS[rng.integers(len(CLOTHS))]
            cv2.rectangle(room, (left, top), (left + 7, shelf - 8), cloth, cv2.FILLED)
    lamp = np.exp(-np.hypot((x - 590) / 130, (y - 165) / 120))[..., None] * np.float32([2.4, 1.5, 0.8])
    room = room * (0.13 + np.exp(-x / 240)[..., None] * np.float32([0.06, 0.09, 0.14]) + lamp)

    sky = np.float32([0.035, 0.075, 0.16]) + ((y / 290) ** 2)[..., None] * np.float32([0.30, 0.15, 0.05])
    room[15:290, 30:255] = sky[15:290, 30:255]
    for _ in range(75):
        light = TOWN[rng.integers(len(TOWN))] * rng.uniform(1, 11)
        cv2.circle(room, (int(rng.integers(34, 252)), int(rng.integers(165, 285))), 1, light.tolist(), cv2.FILLED)
    for bar in (30, 142, 255):
        cv2.rectangle(room, (bar - 4, 10), (bar + 3, 300), (0.03, 0.03, 0.032), cv2.FILLED)
    cv2.rectangle(room, (15, 290), (270, 302), (0.10, 0.09, 0.085), cv2.FILLED)
    cv2.rectangle(room, (588, 190), (592, 282), (0.3, 0.2, 0.1), cv2.FILLED)
    cv2.fillConvexPoly(room, np.array([[572, 140], [608, 140], [622, 192], [558, 192]]), (2.6, 1.6, 0.75))

    passer = np.zeros((405, 720, 4), np.float32)
    shirt, skin, hair = (0.035, 0.05, 0.08, 1), (0.2, 0.12, 0.085, 1), (0.02, 0.02, 0.02, 1)
    cv2.rectangle(passer, (146, 220), (254, 404), shirt, cv2.FILLED)
    shapes = ((200, 220, 54, 54, shirt), (201, 162, 11, 20, skin), (200, 128, 22, 28, hair), (207, 136, 14, 19, skin))
    for left, top, wide, high, colour in shapes:
        cv2.ellipse(passer, (left, top), (wide, high), 0, 0, 360, colour, cv2.FILLED)
    return defocus(room, 9), defocus(passer, 10)


def defocus(layer: Array, radius: int) -> Array:
    """What an open lens makes of a layer drawn at half size: every point a disc. Doubles the size."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2).astype(np.float32)
    disc = cv2.GaussianBlur(disc, (0, 0), 0.8)
    blurred = cv2.filter2D(layer, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.maximum(cv2.resize(blurred, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), 0)


def photograph_room(room: Array, passer: Array, pose: Pose) -> Array:
    """The room behind this pose's camera, (HEIGHT, WIDTH, 3) sRGB in [0, 1]."""

    def seen(layer: Array, nearness: float, x: float = 0, y: float = 0) -> Array:
        zoom = 1 + (pose.zoom - 1) * nearness
        left = WIDTH / 2 - zoom * 720 + pose.camera[0] * nearness + x
        top = HEIGHT / 2 - zoom * 405 + pose.camera[1] * nearness + y
        return cv2.warpAffine(layer, np.float32([[zoom, 0, left], [0, zoom, top]]), (WIDTH, HEIGHT))

    walker = seen(passer, 0.7, 1500 * pose.progress - 480, 6 * math.sin(pose.progress * 55))
    return develop(walker[..., :3] + seen(room, 0.5) * (1 - walker[..., 3:]))


def develop(light: Array) -> Array:
    """Linear light to sRGB (a plain gamma of 2.2) in [0, 1], highlights rolled off as film does."""
    return np.maximum(1 - np.exp(-1.35 * light), 0) ** (1 / 2.2)


# Voice
def speak(rng: Generator) -> tuple[Array, Array, Array]:
    """Three phrases of babble (SAMPLES,) in [-1, 1], and how open and how round the mouth is in each frame."""
    time = np.arange(SAMPLES) / SAMPLE_RATE
    loudness, hiss, pitch = np.zeros(SAMPLES), np.zeros(SAMPLES), np.full(SAMPLES, 190.0)
    syllables = []
    for start, end in ((0.25, 1.95), (2.3, 3.85), (4.3, 5.7)):
        hiss += 0.012 * np.exp(-(((time - start + 0.12) / 0.06) ** 2))  # the breath before a phrase
        pitch += np.where((time > start) & (time < end), 28 * (0.5 - (time - start) / (end - start)), 0)
        while start < end - 0.1:
            length, stress = rng.uniform(0.13, 0.24), rng.uniform(0.55, 1)
            middle = start + length / 2
            syllables.append((middle, *VOWELS[rng.integers(len(VOWELS))]))
            loudness += stress * np.exp(-(((time - middle) / (0.42 * length)) ** 4))
            hiss += rng.choice([0, 0.02, 0.05]) * np.exp(-(((time - start) / 0.03) ** 2))  # a consonant
            pitch += 22 * stress * np.exp(-(((time - middle) / 0.09) ** 2))
            start += length
    middles, *tracks = np.array(syllables).T
    *formants, opening, rounding = (np.interp(time, middles, track) for track in tracks)
    pitch = np.convolve(np.pad(pitch, 2400, "edge"), np.hanning(4801) / 2400, "valid") + 3 * np.sin(33 * time)
    voiced = sing(pitch, formants) * loudness
    sound = voiced / np.abs(voiced).max() + sibilant(rng.standard_normal(SAMPLES)) * (hiss + 0.006 * loudness)
    echo = rng.standard_normal(9600) * np.exp(-np.arange(9600) / 1500) * 0.012
    sound += np.fft.irfft(np.fft.rfft(sound, 2 * SAMPLES) * np.fft.rfft(echo, 2 * SAMPLES))[:SAMPLES]
    sound = 0.5 * sound / np.abs(sound).max() + 0.0003 * rng.standard_normal(SAMPLES)
    frames = (np.arange(FRAMES) * 2 + 1) * SAMPLES // (2 * FRAMES)
    return sound.astype(np.float32), (opening * loudness)[frames], (rounding * loudness)[frames]


def sing(pitch: Array, formants: list[Array]) -> Array:
    """The harmonics of a gliding pitch in Hz, each as loud as the vocal tract's resonances let it."""
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    sound = np.zeros(SAMPLES)
    for harmonic in range(1, 23):
        hertz, gain = harmonic * pitch, 1 / harmonic
        for formant, bandwidth in zip((*formants, 4000), (80, 100, 140, 220), strict=True):
            gain = gain * formant**2 / np.hypot(formant**2 - hertz**2, bandwidth * hertz)
        sound += gain * np.sin(harmonic * phase)
    return sound


def sibilant(noise: Array) -> Array:
    """Noise kept between about 2.8 and 9 kHz."""
    kilohertz = np.fft.rfftfreq(len(noise), 1000 / SAMPLE_RATE) + 1e-3
    return np.fft.irfft(np.fft.rfft(noise) / (1 + (2.8 / kilohertz) ** 4) / (1 + (kilohertz / 9) ** 4), len(noise))


# Motion
def perform(opening: Array, rounding: Array, rng: Generator) -> list[Pose]:
    """A pose per frame: idle movement, nods on loud syllables, lips that follow the voice."""
    seconds = np.arange(FRAMES) / RATE

    def wander(reach: float, slowest: float) -> list[float]:
        swings = [slowest, slowest / 1.7, slowest / 2.9, slowest / 4.9]
        waves = [np.sin(2 * np.pi * (seconds / swing + rng.random())) * 0.6**n for n, swing in enumerate(swings)]
        return (reach / 1.6 * sum(waves)).tolist()

    nod = np.convolve(opening, np.hanning(9) / 4, "same")
    head_y, pitch = np.array(wander(3, 3)) + 5 * nod, np.array(wander(4, 2.6)) + 3 * nod
    blink = sum(np.clip(1.5 - np.abs(np.arange(FRAMES) - middle) / 2, 0, 1) for middle in (31, 74, 108))
    breath = np.sin(2 * np.pi * seconds / 3.4)
    camera = zip(wander(7, 8), wander(4, 7), strict=True)
    body = zip(wander(7, 4.5), wander(2, 5), strict=True)
    head, turn = zip(wander(7, 3.6), head_y, strict=True), zip(wander(7, 2.9), pitch, strict=True)
    columns = (seconds / seconds[-1], camera, body, head, turn, wander(0.045, 3.8), breath, blink, opening, rounding)
    return [Pose(*values) for values in zip(*columns, strict=True)]


def pull_down(y: Array, top: Array, edge: Array, reach: Array) -> Array:
    """Rows of skin that ended at `edge` stretch from `top` to `reach`, and hide what was below."""
    stretched = top + (y - top) * (edge - top) / np.maximum(reach - top, 1)
    return np.where((y > top) & (y < reach), stretched, y)


def animate_face(x: Array, y: Array, pose: Pose) -> tuple[Array, Array, Array]:
    """Where each pixel of the speaking face lies in the portrait, and how far it is the dark of the mouth."""
    near_mouth = np.exp(-(((x - MOUTH[0]) / 60) ** 2) - ((y - MOUTH[1] - 12) / 45) ** 2)
    x = x + 0.10 * pose.rounding * near_mouth * (x - MOUTH[0])
    for middle, upper, lower, half in EYES:
        arch = np.maximum(1 - ((x - middle) / half) ** 2, 0)
        edge = lower - 5 - (lower - 5 - upper) * arch
        y = pull_down(y, edge - 9 * arch, edge, edge + pose.blink * (lower - upper) * arch)

    # Her smile shows teeth between two parabolas: closed, the lips meet half way; open, the lower lip and jaw sink.
    arch = np.maximum(1 - ((x - MOUTH[0]) / 46) ** 2, 0)
    gap, shut = max(pose.opening - 0.2, 0) * 13 * arch, max(1 - pose.opening / 0.2, 0)
    lip, teeth = MOUTH[1] + 9.5 * arch, MOUTH[1] + 19.5 * arch
    upper = pull_down(y, lip - 13 * arch, lip, lip + 3.5 * shut * arch)
    jaw = np.exp(-(((x - MOUTH[0]) / (38 + 0.7 * np.maximum(y - MOUTH[1], 0))) ** 4))
    jaw = np.where(y < teeth + 14, np.minimum(jaw, arch + (y - teeth) / 30), jaw) * np.clip((392 - y) / 40, 0, 1)
    sink = (max(pose.opening - 0.2, 0) * 13 - 6 * shut) * jaw
    dark = np.clip((y - teeth) / 2, 0, 1) * np.clip((teeth + gap - y) / 2 + 0.5, 0, 1) * (arch > 0)
    return x, np.where(y > teeth + np.minimum(sink, gap), y - sink, upper), dark


def head_weight(shape: tuple[int, int]) -> Array:
    """1 where the portrait follows the head, 0 where it follows the torso, (H, W)."""
    weight = np.zeros(shape, np.float32)
    weight[:270] = 1
    cv2.ellipse(weight, (445, 250), (92, 118), 0, 0, 360, 1.0, cv2.FILLED)
    return cv2.GaussianBlur(weight, (0, 0), 24)


def photograph_person(person: Array, follows_head: Array, pose: Pose) -> Array:
    """Her premultiplied colour and alpha in this pose, (HEIGHT, WIDTH, 4)."""
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    x = CROWN[0] + (x - CROWN_IN_FRAME[0] - pose.camera[0] - pose.body[0]) / (ENLARGED * pose.zoom)
    y = CROWN[1] + (y - CROWN_IN_FRAME[1] - pose.camera[1] - pose.body[1]) / (ENLARGED * pose.zoom)
    chest = np.clip((y - 300) / 150, 0, 1) * pose.breath
    x, y = x - 0.004 * chest * (x - NECK[0]), y + 2.2 * chest
    x = x + 0.35 * pose.head[0] * np.clip((y - 400) / 300, 0, 1)

    weight = cv2.remap(follows_head, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    right, down = x - NECK[0] - pose.head[0], y - NECK[1] - pose.head[1]
    cosine, sine = math.cos(pose.tilt), math.sin(pose.tilt)
    x = x + weight * (NECK[0] + cosine * right + sine * down - x)
    y = y + weight * (NECK[1] + cosine * down - sine * right - y)
    # A turning head moves its face more than its outline.
    bulge = np.exp(-(((x - FACE[0]) / 85) ** 2) - ((y - FACE[1]) / 110) ** 2)
    x, y, dark = animate_face(x - pose.turn[0] * bulge, y - pose.turn[1] * bulge, pose)

    seen = cv2.remap(person, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
    seen[..., :3] += dark[..., None] * (np.float32([0.16, 0.06, 0.05]) - seen[..., :3])
    return np.clip(seen, 0, 1)


def shoot(poses: list[Pose], rng: Generator) -> Iterator[Array]:
    """The clip's frames, (HEIGHT, WIDTH, 3) uint8."""
    foreground, alpha = cut_out(cv2.resize(astronaut(), None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4))
    person = np.concatenate([lit_by_room(foreground) * alpha, alpha], axis=2)
    follows_head, (room, passer) = head_weight(alpha.shape[:2]), draw_room(rng)
    for pose in poses:
        seen, behind = photograph_person(person, follows_head, pose), photograph_room(room, passer, pose)
        alpha = seen[..., 3:]
        veil = 0.25 * alpha * (1 - cv2.GaussianBlur(alpha, (0, 0), 9)[..., None])  # the room's light spills round her
        frame = cv2.GaussianBlur(seen[..., :3] * (1 - veil) + behind * (1 - alpha + veil), (0, 0), 0.6)
        # A sensor's noise, stronger in the shadows than in the highlights, mostly of brightness.
        noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) + 0.5 * rng.standard_normal(frame.shape, np.float32)
        noise *= 2.2 - frame.mean(axis=2, keepdims=True)
        yield np.clip(frame * 255 + noise + 0.5, 0, 255).astype(np.uint8)


# Encode
def encode(path: Path, frames: Iterator[Array], sound: Array) -> None:
    """H.264 and AAC in MP4, tagged BT.709, the index at the front."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        # A fixed thread count, because x264's output depends on it.
        video = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "slow", "threads": "2"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        tags = {"color_primaries": BT709, "color_trc": BT709, "colorspace": BT709, "color_range": ColorRange.MPEG}
        for tag, code in tags.items():
            setattr(video.codec_context, tag, code)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=96_000)
        audio.metadata["language"] = "eng"
        samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))

        for number, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            for tag, code in tags.items():
                setattr(picture, tag, code)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


# Studio
def draw_studio(rng: Generator) -> Array:
    """A news studio at night, (HEIGHT, WIDTH, 3) uint8: a slatted teal wall, light strips, a polished desk."""
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    teal, amber, ice = np.float32([0.012, 0.15, 0.19]), np.float32([1.0, 0.42, 0.12]), np.float32([0.30, 0.85, 1.0])

    def pool(left: float, top: float, wide: float, high: float) -> Array:
        return np.exp(-(((x - left) / wide) ** 2) - ((y - top) / high) ** 2)[..., None]

    beams = pool(190, 60, 150, 330) + pool(1090, 60, 150, 330)
    slats = np.where(np.abs(x - 640) > 340, 0.35 + 0.65 * np.sin(np.pi * x / 34) ** 2, 1)[..., None]
    wall = teal * slats * (0.10 + 0.75 * pool(640, 230, 330, 300) + 0.4 * beams)
    for left, colour in ((300, ice), (980, ice), (94, 0.5 * amber), (1186, 0.5 * amber)):
        away, beyond = np.abs(x - left)[..., None], np.maximum(np.abs(y - 310) - 240, 0)[..., None]
        wall = wall + colour * (3.0 * (away < 3.5) * (beyond == 0) + 0.07 * np.exp(-away / 40 - beyond / 60))
    wall = cv2.GaussianBlur(wall, (0, 0), 2.0)

    desk = 610
    mirrored = cv2.GaussianBlur(wall[desk - (HEIGHT - desk) * 3 : desk : 3][::-1], (0, 0), sigmaX=5, sigmaY=9)
    wall[desk:] = 0.4 * mirrored * np.linspace(1, 0.4, HEIGHT - desk)[:, None, None] + 0.004
    wall[desk : desk + 2] += 0.08 * ice * pool(640, desk, 420, 50)[desk : desk + 2]
    wall *= 1 - 0.22 * ((x / 640 - 1) ** 2 + (y / 360 - 1) ** 2)[..., None]
    dither = rng.uniform(-0.5, 0.5, (HEIGHT, WIDTH, 1)) + rng.uniform(-0.5, 0.5, (HEIGHT, WIDTH, 1))
    return np.clip(develop(wall) * 255 + dither + 0.5, 0, 255).astype(np.uint8)


def main() -> None:
    """Write both samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("samples"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_studio(default_rng(SEED))).save(options.out / "studio.png", optimize=True)
    rng = default_rng(SEED)
    sound, opening, rounding = speak(rng)
    encode(options.out / "avatar.mp4", shoot(perform(opening, rounding, rng), rng), sound)


if __name__ == "__main__":
    main()
