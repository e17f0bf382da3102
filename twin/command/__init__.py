"""The commands of `citywhistle`, one file a group; thin: they read arguments, call a room, print."""
