"""The whole city in one terminal: broker, server, fleet, replayed recording, an inbox, and a report at the end."""
