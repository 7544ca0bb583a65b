"""The small pages behind one-time links: a second inbox, which calls the same handlers."""
