"""Whistles: what a finding becomes. Correlate, hold, route, mute, escalate, close; all pure, so that a replay agrees.

The room's law: nothing here reads a clock, a file or a socket. City time comes in with each step; the same steps give
the same changes, from any saved state.
"""
