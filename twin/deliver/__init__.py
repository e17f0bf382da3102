"""Delivery: the case database with its outbox, and the sender that empties the outbox through the channels.

The room's law: what the database says was sent, was sent. Only outcomes that came back through the journal say so.
"""
