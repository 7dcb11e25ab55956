"""The whole loop on real data and simulated time: devices count, drift is seen, models are made anew or not."""

from tinymlops.replay.story import Story

__all__ = ["Story"]
