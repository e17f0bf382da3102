"""The twin's model of a kind: what its devices said last, what they should be saying, and when they were heard."""

from twin.model.advance import advance
from twin.model.modelled import STEP_MS, modelled
from twin.model.state import KindState

__all__ = ["STEP_MS", "KindState", "advance", "modelled"]
