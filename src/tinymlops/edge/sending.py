"""The spool on its way to the gateway: in order, a bounded number of batches a round, and only where it may leave."""

from __future__ import annotations

from tinymlops.edge.link import Link
from tinymlops.edge.observing import Observing
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.spool import Kind, Spool
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.wire.device_state import Network
from tinymlops.wire.encoding import decode, encode_packed
from tinymlops.wire.messages import Acknowledgement, TelemetryBatch

_RECORDS_AT_ONCE = 500
_BATCHES_AT_ONCE = 20


def send_waiting(spool: Spool, link: Link, observing: Observing, settings: AgentSettings, observe: Observer) -> None:
    """Send what waits; observations only on a network that costs nothing, unless that is set otherwise.

    Raises:
        TinyMLOpsError: What the gateway or the way to it finds wrong; everything that is not acknowledged still waits.
    """
    free = settings.network is Network.UNMETERED or settings.observations.metered
    kinds = tuple(Kind) if free else (Kind.RECEIPT,)
    for _ in range(_BATCHES_AT_ONCE):
        with observing.sending():
            observing.look()
            records = spool.waiting(_RECORDS_AT_ONCE, kinds=kinds)
            if not records:
                return
            answer = link.post("/v1/telemetry", encode_packed(TelemetryBatch(records=records)))
        observe(Transition.SPOOL_SENT, str(records[-1].sequence))
        acknowledged = decode(answer, Acknowledgement, what="the answer to telemetry")
        before = spool.state.through
        spool.acknowledge(acknowledged.through)
        if spool.state.through == before:
            return
