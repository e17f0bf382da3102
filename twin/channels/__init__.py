"""How a whistle reaches people and devices, one file a channel."""
