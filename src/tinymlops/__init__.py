"""One machine-learning task on many small, different devices."""

__version__ = "0.1.0"
