"""Measuring mattes: against the truth, and without it."""

from vmatte.measure.steadiness import FrameSteadiness, Steadiness, flicker, frame_steadiness
from vmatte.measure.truth import FrameScores, Scores, frame_scores, measure_alpha

__all__ = [
    "FrameScores",
    "FrameSteadiness",
    "Scores",
    "Steadiness",
    "flicker",
    "frame_scores",
    "frame_steadiness",
    "measure_alpha",
]
