"""Stand in, on loopback, for Bluesky, a Mastodon server and X's look-ups; never part of a deployment."""
