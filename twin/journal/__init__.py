"""The one durable thing: a numbered log of everything that changes an outcome."""
