"""Detectors, one file each: how surprising, and why. Pure."""
