"""Southbound buses of the edge gateway, one file each."""
