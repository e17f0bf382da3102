"""Tests of the web: API, gate, live stream, page."""
