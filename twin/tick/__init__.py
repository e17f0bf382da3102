"""One tick: a pure function of the world and what was journalled since the last."""
