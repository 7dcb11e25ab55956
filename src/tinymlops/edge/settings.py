"""What can be set about an agent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from tinymlops.errors import UsageError
from tinymlops.wire.device_state import BALANCED, Network

_KIB, _MIB = 1024, 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an agent takes from the network at most, and how long it waits for it.

    Attributes:
        answer_bytes: Largest answer but metadata and targets.
        packages_bytes: Largest package, unless its target is smaller.
        grace_s: How long an answer may take in any case.
        least_bytes_per_s: After that, a slower one is given up.
        saved_every_bytes: A download that breaks off loses no more than this.
    """

    answer_bytes: int = 256 * _KIB
    packages_bytes: int = 512 * _MIB
    grace_s: float = 20.0
    least_bytes_per_s: float = 1024.0
    saved_every_bytes: int = 256 * _KIB


class Sampling(StrEnum):
    """Which queries become samples, where their person agreed to that."""

    RANDOM = "random"
    """Any, all equally likely: fit to estimate from."""
    UNCERTAIN = "uncertain"
    """Those with the least confidence: they teach most (Lewis and Gale 1994, uncertainty sampling)."""


@dataclass(frozen=True, kw_only=True)
class ObservationSettings:
    """What an agent counts and tells, once its person agrees; docs/privacy.md has the reasons for the numbers.

    Attributes:
        window_s: Length of a window; they begin at multiples of it since 1970, so a day's begin at midnight UTC. Noise
            is added once a window, so one long window tells more than several short ones for the same loss of privacy.
        epsilon: Loss of privacy by one window, over all its histograms together.
        budget: Loss of privacy in thirty days, after which histograms stay here: a window a day, and six more for days
            on which the release changes.
        metered: Whether observations may leave on a metered network as well.
        saved_every_s: A crash loses no more counts than those of so long a time.
        sampling: Which queries become samples.
        samples_a_day: At most.
        sample_bytes_a_day: At most.

    Raises:
        UsageError: A length or an epsilon that is not positive.
    """

    window_s: float = 86_400.0
    epsilon: float = 1.0
    budget: float = 36.0
    metered: bool = False
    saved_every_s: float = 60.0
    sampling: Sampling = Sampling.UNCERTAIN
    samples_a_day: int = 32
    sample_bytes_a_day: int = 1 * _MIB

    def __post_init__(self) -> None:
        for name in ("window_s", "epsilon", "budget", "saved_every_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} is {value}", "give a positive number")


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """How an agent behaves.

    Attributes:
        quota_bytes: Disk that the whole state folder may take.
        observations_bytes: Of that, for observations; the oldest are dropped first.
        receipts_bytes: Of that, for receipts; never dropped: when it is full, no more are taken.
        most_poll_s: Longest time between two questions for news, whatever the gateway says.
        most_backoff_s: Longest wait after failures.
        trial_s: How long a release serves on trial at least before an acknowledged report of its health confirms it.
        offline_trial_s: How long without a gateway until a release that answers its queries is confirmed all the same.
        trial_starts: Starts of the agent within one trial after which the release counts as a crash loop.
        network: What a download costs here.
        preference: Speed (0) or accuracy (1) where a call does not say.
        limits: Of the network.
        observations: What is counted and told.
    """

    quota_bytes: int = 512 * _MIB
    observations_bytes: int = 16 * _MIB
    receipts_bytes: int = 16 * _MIB
    most_poll_s: float = 24 * 3600.0
    most_backoff_s: float = 3600.0
    trial_s: float = 10.0
    offline_trial_s: float = 3600.0
    trial_starts: int = 3
    network: Network = Network.UNMETERED
    preference: float = BALANCED
    limits: Limits = field(default_factory=Limits)
    observations: ObservationSettings = field(default_factory=ObservationSettings)
