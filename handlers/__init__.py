"""Decide what a message means and what is promised because of it."""
