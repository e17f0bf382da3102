"""What anyone may ask of the running city: the desk, and the records of its answers."""
