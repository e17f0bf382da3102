"""Bytes from the broker become accounted batches of columns."""
