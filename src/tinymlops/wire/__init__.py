"""What device and cloud say to each other: bytes in, values out.

Everything carries a version, and unknown versions are refused.
"""
