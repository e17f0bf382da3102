"""The case and its life: correlate, route, transitions. Pure."""
