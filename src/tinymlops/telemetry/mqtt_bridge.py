"""From an MQTT broker into the inbox: a message is acknowledged to the broker when it is durable, and not before.

One thread reads, keeps and acknowledges. The broker sends no more than it was told that we hold (MQTT 5's Receive
Maximum), and keeps the rest: memory is bounded here, and the queue is bounded there. What was received and not
acknowledged when the connection or the process ends is sent again, to this bridge or to the next one of its name.

A device's answer is published before the broker is given its acknowledgement, on the same connection: whoever is killed
in between has not acknowledged, and the answer is made again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import structlog

from tinymlops.errors import SetupError, TinyMLOpsError
from tinymlops.telemetry.carrying import Carried, Fate
from tinymlops.telemetry.mqtt_settings import BrokerSettings
from tinymlops.wire.carried import kept_topic

RETRY_S = 5.0
"""After a failure that is not the message's: of the storage, or of the broker."""
FULL = "no room"
"""What becomes of a message that comes although it was not asked for; nobody is told that it was kept."""
_PAUSE_S = 1.0
_TURN_S = 0.5
_KEEP_ALIVE_S = 30
_ANSWER_S = 30 * 86_400
"""How long a broker keeps the last answer for a device that is not there."""
_TAKEN_OVER = 0x8E
_NOT_OURS = frozenset({0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8F, 0x9E, 0xA2})
"""Reason codes of MQTT 5 that waiting does not mend: login, rights, protocol, client's name, topic, sharing."""


class Keeper(Protocol):
    """Makes messages durable; `tinymlops.telemetry.carrying.CarriedTelemetry` is one."""

    def keep(self, messages: Sequence[bytes]) -> Carried:
        """Keep what is to be believed.

        Raises:
            TinyMLOpsError: Nothing may be acknowledged.
        """
        ...


class Counts(Protocol):
    """Where what becomes of messages is counted; `tinymlops.telemetry.mqtt_figures.BridgeFigures` is one."""

    def told(self, fate: str) -> None:
        """A message's fate is known."""
        ...

    def turned(self, *, connected: bool, waiting: int) -> None:
        """The bridge has gone once round."""
        ...


class _Message(msgspec.Struct, frozen=True):
    number: int
    qos: int
    content: bytes


class Bridge:
    """Takes messages from a broker.

    Args:
        broker: Where they come from.
        keeper: Makes them durable.
        counts: Is told what becomes of them.
    """

    def __init__(self, broker: BrokerSettings, keeper: Keeper, counts: Counts) -> None:
        self._broker = broker
        self._keeper = keeper
        self._counts = counts
        self._waiting: list[_Message] = []
        self._pause_until_s = 0.0
        self._refusal: tuple[int, str] | None = None
        self._log = structlog.get_logger("tinymlops.bridge")
        self._client = self._new_client()

    def run(self, stop: threading.Event) -> None:
        """Carry messages until ``stop`` is set; a broker that is away is waited for.

        Raises:
            SetupError: The broker refuses the bridge in a way that waiting does not mend, or another bridge has its
                name.
        """
        while not stop.is_set():
            if not self._connect():
                self._counts.turned(connected=False, waiting=0)
                stop.wait(RETRY_S)
                continue
            self._serve(stop)
            self._refuse_if_refused()
            stop.wait(_PAUSE_S)
        self._client.disconnect()

    def _serve(self, stop: threading.Event) -> None:
        """Read, keep and acknowledge until the connection ends."""
        began_s = time.monotonic()
        while not stop.is_set():
            before = len(self._waiting)
            failed = self._client.loop(self._patience_s())
            if failed or self._refusal:
                after_s = round(time.monotonic() - began_s, 1)  # again and again soon: another bridge has our name
                self._log.warning("disconnected", after_s=after_s, waiting=len(self._waiting))
                self._waiting.clear()  # the broker sends them again, under numbers of its own
                return
            self._counts.turned(connected=self._client.is_connected(), waiting=len(self._waiting))
            more_is_coming = before < len(self._waiting) < self._broker.most_waiting
            if self._waiting and not more_is_coming and time.monotonic() >= self._pause_until_s:
                self._keep()

    def _patience_s(self) -> float:
        """How long to wait for the next message: not at all while some could be kept."""
        if not self._waiting:
            return _TURN_S
        return min(_TURN_S, max(0.0, self._pause_until_s - time.monotonic()))

    def _keep(self) -> None:
        try:
            carried = self._keeper.keep([one.content for one in self._waiting])
        except TinyMLOpsError as error:  # whatever it is, it is ours: the message is not to blame
            self._pause_until_s = time.monotonic() + RETRY_S
            self._log.error("storage", cause=str(error), waiting=len(self._waiting))
            return
        for answer in carried.answers:
            self._client.publish(kept_topic(answer.device_id), answer.content, retain=True, properties=_lasting())
        for message, fate in zip(self._waiting, carried.fates, strict=True):
            self._client.ack(message.number, message.qos)
            self._counts.told(fate)
            if fate is not Fate.KEPT:
                self._log.info("dropped", fate=fate, bytes=len(message.content))
        self._waiting.clear()

    def _connect(self) -> bool:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        broker, wishes = self._broker, Properties(PacketTypes.CONNECT)
        wishes.SessionExpiryInterval = broker.session_s
        wishes.ReceiveMaximum = broker.most_waiting
        wishes.MaximumPacketSize = broker.most_bytes
        try:
            self._client.connect(broker.host, broker.port, _KEEP_ALIVE_S, clean_start=False, properties=wishes)
        except OSError as error:
            self._log.warning("unreachable", broker=broker.host, cause=str(error))
            return False
        return True

    def _refuse_if_refused(self) -> None:
        if self._refusal is None:
            return
        (code, words), self._refusal = self._refusal, None
        self._log.warning("refused", reason=words)
        if code == _TAKEN_OVER:
            raise SetupError(
                f"another bridge has come to the broker as {self._broker.name!r}", "give each its own --client-id"
            )
        if code in _NOT_OURS:
            raise SetupError(f"the broker refuses the bridge ({words})", "check its login, and its rights to topics")

    def _new_client(self) -> Any:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, self._broker.name, protocol=MQTTv5, manual_ack=True)
        if self._broker.login is not None:
            client.username_pw_set(self._broker.login.name, self._broker.login.password)
        if self._broker.tls:
            client.tls_set_context(self._broker.ssl_context())
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: Any, _: object, flags: Any, reason: Any, __: object) -> None:
        if reason.is_failure:
            self._refusal = reason.value, str(reason)
            return
        self._log.info("connected", broker=self._broker.host, session=flags.session_present)
        client.subscribe(self._broker.filter, qos=1)  # each time: the broker may have lost it

    def _on_subscribe(self, _: object, __: object, ___: object, reasons: Sequence[Any], ____: object) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._refusal = reason.value, str(reason)
            else:
                self._log.info("subscribed", topics=self._broker.filter)

    def _on_disconnect(self, _: object, __: object, flags: Any, reason: Any, ___: object) -> None:
        if flags.is_disconnect_packet_from_server:
            self._refusal = reason.value, str(reason)

    def _on_message(self, _: object, __: object, message: Any) -> None:
        if len(self._waiting) >= self._broker.most_waiting:  # sent with QoS 0, which nothing holds back
            self._counts.told(FULL)
            return
        self._waiting.append(_Message(message.mid, message.qos, message.payload))


def _lasting() -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = _ANSWER_S
    return properties
