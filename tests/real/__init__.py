"""A real Bluesky on the loopback interface, for the contract tests and for the demo on real parts."""
