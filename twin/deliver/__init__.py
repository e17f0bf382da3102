"""The outbox and the case database: what a tick decided is recorded, sent, and its outcome journalled."""
