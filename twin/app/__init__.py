"""The one wiring room."""
