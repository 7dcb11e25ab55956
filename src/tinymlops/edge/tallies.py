"""What is counted of one variant in one window, in memory and on the disk; and the window that it becomes."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tinymlops.edge.counting import Layout, Runs, latency_bins
from tinymlops.wire.observations import LATENCY_EDGES_US, ChannelHealth, Purpose, Sample, Window

if TYPE_CHECKING:
    from tinymlops.edge.prediction import Prediction
    from tinymlops.edge.samples import Sampler
    from tinymlops.edge.tensors import Floats
    from tinymlops.wire.manifest import Manifest

_MOST_ROWS = 64
_MOST_ROW_BYTES = 256 * 1024
_LEAST_STUCK = 8


class Key(msgspec.Struct, frozen=True):
    """What is counted together."""

    workload: str
    release: int
    recipe: str
    layout: str


class SavedTally(msgspec.Struct, frozen=True, kw_only=True):
    """A tally as it is kept on the disk: exact counts, without any noise, which never leave like this.

    Attributes:
        key: What is counted.
        began_s: When counting began.
        ends_s: When the window ends.
        consent: Number of the consent that it is counted under.
        purposes: What that agrees to, and no later one takes back.
        histograms: Of the features, in the order of the layout.
        queries: Answered.
        errors: Failed.
        labelled: Truths that became known.
        latencies: Counts between `LATENCY_EDGES_US`.
        memory_kib: Largest resident set that was seen.
        query_uj: Energy of one query, where it is known.
        channels: That are counted; the next two fields go with them.
        missing: Queries in which a channel was not finite.
        stuck: Longest run of a channel without a change.
        samples: Chosen so far, each with the number of its query.
        seen: Queries that samples were chosen from.
    """

    key: Key
    began_s: float
    ends_s: float
    consent: int
    purposes: frozenset[Purpose]
    histograms: tuple[tuple[int, ...], ...]
    query_uj: float | None = None
    channels: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    queries: int = 0
    errors: int = 0
    labelled: int = 0
    latencies: tuple[int, ...] = (0,) * (len(LATENCY_EDGES_US) + 1)
    memory_kib: int = 0
    samples: tuple[tuple[int, Sample], ...] = ()
    seen: int = 0


class Tally:
    """Counts of one variant in one window; the caller locks.

    Args:
        saved: As it was left, or new.
    """

    def __init__(self, saved: SavedTally) -> None:
        self.key, self.began_s, self.ends_s, self.consent = saved.key, saved.began_s, saved.ends_s, saved.consent
        self.purposes = saved.purposes
        self.histograms = [np.array(bins, np.int64) for bins in saved.histograms]
        self.queries, self.errors, self.labelled = saved.queries, saved.errors, saved.labelled
        self.latencies = np.array(saved.latencies, np.int64)
        self.memory_kib, self.query_uj = saved.memory_kib, saved.query_uj
        self.channels, self.missing = saved.channels, list(saved.missing)
        self.runs = Runs(saved.stuck)
        self.samples, self.seen = dict(saved.samples), saved.seen
        self.paid = 0
        """ε in millionths that the ledger has for it already."""

    def saved(self) -> SavedTally:
        """As it is kept on the disk."""
        return SavedTally(
            key=self.key, began_s=self.began_s, ends_s=self.ends_s, consent=self.consent, purposes=self.purposes,
            histograms=tuple(tuple(bins.tolist()) for bins in self.histograms), queries=self.queries,
            errors=self.errors, labelled=self.labelled, latencies=tuple(self.latencies.tolist()),
            memory_kib=self.memory_kib, query_uj=self.query_uj, channels=self.channels, missing=tuple(self.missing),
            stuck=tuple(self.runs.longest.tolist()), samples=tuple(self.samples.items()), seen=self.seen,
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.queries or self.errors or self.labelled or any(self.missing))

    def keep_only(self, purposes: frozenset[Purpose]) -> None:
        """Forget what was counted for any other purpose."""
        self.purposes &= purposes
        if Purpose.DRIFT not in self.purposes:
            for bins in self.histograms:
                bins[:] = 0
            self.labelled = 0
        if Purpose.OPERATIONS not in self.purposes:
            self.errors = self.memory_kib = 0
            self.latencies[:] = 0
            self.missing, self.runs = [0] * len(self.channels), Runs([0] * len(self.channels))
        if Purpose.SAMPLES not in self.purposes:
            self.samples, self.seen = {}, 0

    def window(self, histograms: Sequence[Sequence[int]], epsilon: float) -> Window | None:
        """What may be told of it; None where that is nothing.

        Args:
            histograms: With their noise, or none.
            epsilon: Of each of them.
        """
        operations = Purpose.OPERATIONS in self.purposes
        if self.is_empty or not (operations or histograms):
            return None
        return Window(
            workload=self.key.workload, release=self.key.release, recipe=self.key.recipe, layout=self.key.layout,
            began_s=self.began_s, ended_s=self.ends_s, consent=self.consent, epsilon=epsilon,
            histograms=tuple(tuple(bins) for bins in histograms), queries=self.queries,
            errors=self.errors if operations else 0, labelled=self.labelled if histograms else 0,
            latencies=tuple(self.latencies.tolist()) if operations else (),
            memory_kib=(self.memory_kib or None) if operations else None,
            energy_uj=self.queries * self.query_uj if operations and self.query_uj is not None else None,
            channels=self._unwell() if operations else (),
        )  # fmt: skip

    def _unwell(self) -> tuple[ChannelHealth, ...]:
        most = max(_LEAST_STUCK, self.queries / 2)
        found = (
            ChannelHealth(channel=channel, missing=missing, stuck=int(run) if run >= most else 0)
            for channel, missing, run in zip(self.channels, self.missing, self.runs.longest, strict=True)
        )
        return tuple(one for one in found if one.missing or one.stuck)


def begun(key: Key, layout: Layout, manifest: Manifest, *, consent: int, purposes: frozenset[Purpose]) -> SavedTally:
    """A tally with nothing in it yet; its times are the caller's."""
    return SavedTally(
        key=key, began_s=0.0, ends_s=0.0, consent=consent, purposes=purposes,
        histograms=tuple((0,) * bins for bins in layout.bins), query_uj=manifest.energy_uj, channels=layout.channels,
        missing=(0,) * len(layout.channels), stuck=(0,) * len(layout.channels),
    )  # fmt: skip


class Counting:
    """Queries on their way into a tally: gathered in rows, counted many at once.

    Args:
        tally: That they go into.
        layout: What is counted.
        manifest: Of the variant.
        sampler: Chooses samples.
    """

    def __init__(self, tally: Tally, layout: Layout, manifest: Manifest, sampler: Sampler) -> None:
        self.tally, self.layout = tally, layout
        values = int(np.prod(manifest.input.shape))
        self._most = max(1, min(_MOST_ROWS, _MOST_ROW_BYTES // (4 * values)))
        self._rows = np.empty((self._most, values), np.float32)
        self._answers: list[Prediction] = []
        self._sampler = sampler

    def add(self, real: Floats, prediction: Prediction) -> bool:
        """One query and its answer; whether it is time to `settle`.

        Args:
            real: The input; copied, since it may be the caller's own memory.
            prediction: The answer.
        """
        answers = self._answers
        self._rows[len(answers)] = real.ravel()
        answers.append(prediction)
        return len(answers) == self._most

    def settle(self, now_s: float) -> None:
        """Count what was gathered.

        Args:
            now_s: Seconds since 1970.
        """
        answers, tally = self._answers, self.tally
        if not answers:
            return
        rows = self._rows[: len(answers)]
        tally.queries += len(answers)
        if Purpose.OPERATIONS in tally.purposes:
            tally.latencies += latency_bins([one.latency_us for one in answers])
        picked = self.layout.picked(rows)
        if Purpose.DRIFT in tally.purposes:
            self.layout.count(picked, np.array([one.confidences for one in answers]), tally.histograms)
        if Purpose.OPERATIONS in tally.purposes and self.layout.channels:
            tally.runs.follow(picked)
        if Purpose.SAMPLES in tally.purposes:
            self._sampler.choose(tally, rows, answers, now_s)
        self._answers = []


def resident_kib() -> int:
    """Memory that this process holds, or 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * (resource.getpagesize() // 1024)
