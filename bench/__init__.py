"""Measurements of Reflock; each is a command that prints one JSON object."""
