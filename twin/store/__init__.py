"""Time-series stores behind one protocol, fed from the journal."""
