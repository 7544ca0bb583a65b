"""The demo's own page: play a person on either network, side by side, without any account. Never part of a deployment."""
