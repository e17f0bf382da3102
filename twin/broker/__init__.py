"""The broker's set-up: who may do what (credentials, access lists), its configuration, and running it as a child."""
