"""Run Reflock: networks in, effects out, the web beside it."""
