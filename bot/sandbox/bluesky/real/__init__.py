"""A real Bluesky as a stage: its people act by the real protocols, and its firehose tells what came true."""

from bot.sandbox.bluesky.real.sky import RealHands, RealSky

__all__ = ["RealHands", "RealSky"]
