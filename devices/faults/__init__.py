"""Labelled faults and violations: what can go wrong, when it does, and the truth about it that no server reads."""
