"""What a device tells is signed, not true: what can't be is not counted.

A device can lie within these bounds; what it can't do is outweigh its fleet, or put a window into another year.
"""

from __future__ import annotations

import math

from tinymlops.wire.observations import Sample, Window, noise_variance

FUTURE_S = 300.0
"""A clock may be ahead by as much as a request's may."""
OLDEST_S = 90 * 86_400.0
"""What waited for longer on a device says nothing about today."""
LONGEST_S = 8 * 86_400.0
"""Of a window; they are meant to be hours."""
MOST_QUERIES_PER_S = 10_000
LEAST_EPSILON = 0.001
NO_NOISE = "no noise"
"""The one doubt about a window whose content must not be kept either."""
_SURE = 1e-12
"""Noise passes a bound with this probability at most, for a bin or a histogram."""
_INT32 = 2**31 - 1


def doubt_window(window: Window, *, received_s: float) -> str:
    """Why a window can't be true; empty if it can."""
    span_s = window.ended_s - window.began_s
    if span_s > LONGEST_S:
        return "too long"
    if max(window.queries + window.errors, window.labelled) > MOST_QUERIES_PER_S * (span_s + 1):
        return "too many queries"
    if sum(window.latencies) > window.queries + window.errors:
        return "counts contradict each other"
    return _doubt_moment(window.ended_s, received_s) or _doubt_histograms(window)


def doubt_sample(sample: Sample, *, received_s: float) -> str:
    """Why a sample can't be true; empty if it can."""
    if doubt := _doubt_moment(sample.at_s, received_s):
        return doubt
    if len(sample.inputs) % 4:
        return "inputs are no float32"
    if not all(map(math.isfinite, sample.output + (sample.truth or ()))):
        return "not finite"
    return ""


def _doubt_moment(at_s: float, received_s: float) -> str:
    if at_s > received_s + FUTURE_S:
        return "clock ahead"
    return "too old" if at_s < received_s - OLDEST_S else ""


def _doubt_histograms(window: Window) -> str:
    if window.histograms and window.epsilon < LEAST_EPSILON:
        return NO_NOISE if window.epsilon == 0 else "more noise than can be of use"
    if all(_fits(bins, window) for bins in window.histograms):
        return ""
    return "histogram contradicts the number of queries"


def _fits(bins: tuple[int, ...], window: Window) -> bool:
    """Whether counts can be those of at most so many queries, with noise.

    Noise X of one bin: P(|X| > t) ≤ 2 exp(−εt / 2). The sum over n bins: by its standard deviation, of which seven
    are as sure for a normal distribution, and one such t more for the tails that it has and a normal one has not.
    """
    tail = 2 / window.epsilon * math.log(2 / _SURE) + 1
    most = max(window.queries, window.labelled)  # errors are counted when the truth comes, which may be later
    spread = 7 * math.sqrt(len(bins) * noise_variance(window.epsilon)) + tail
    return (
        -spread <= sum(bins) <= most + spread
        and min(bins, default=0) >= -min(tail, _INT32)
        and max(bins, default=0) <= min(most + tail, _INT32)
    )
