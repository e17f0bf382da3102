"""Scores of any table of series: how surprising each row is, and why. `citywhistle detect` stands on it."""

from twin.score.evidence import EVIDENCE
from twin.score.scorer import Scorer, Scores, score_of

__all__ = ["EVIDENCE", "Scorer", "Scores", "score_of"]
