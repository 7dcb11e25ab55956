"""The container engine, through the Docker SDK: builds images, runs one hardened container for each measurement."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinymlops.devices.backend import Progress
from tinymlops.devices.ownership import OWNER_LABEL, is_orphan, labels_of_this_process
from tinymlops.errors import EngineError, SetupError

_CALL_TIMEOUT_S = 60
_PULL_TIMEOUT_S = 20
_NOBODY = 65534
_LOG_LINES = 20
_HOW_TO_START = "start one with `sh infra/engine.sh`, or measure natively on --device x86-gateway"


@dataclass(frozen=True)
class Limits:
    """What a container may use.

    Attributes:
        cores: CPU cores, maybe a fraction; never more than the machine has.
        memory_mib: Memory; there is no swap beside it.
        timeout_s: Wall-clock time, then it is stopped.
        processes: Processes and threads at once.
    """

    cores: float
    memory_mib: int
    timeout_s: float
    processes: int = 64


@dataclass(frozen=True)
class ContainerResult:
    """How a container ended.

    Attributes:
        exit_code: As a shell sees it: 128 + signal where a signal ended it.
        oom_killed: The kernel ended it for its memory limit.
        timed_out: It was stopped for its time limit.
        log: Last lines of what it printed.
    """

    exit_code: int
    oom_killed: bool
    timed_out: bool
    log: str


class Engine:
    """A container engine that answers."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._cores = float(client.info()["NCPU"])

    @classmethod
    def connect(cls) -> Engine:
        """The engine that ``DOCKER_HOST`` names, or the local one.

        Raises:
            EngineError: None answers, or it is not for amd64.
            SetupError: The Docker SDK is not installed.
        """
        with _talking(f"no container engine answers ({_address()})"):
            client = _sdk().from_env(timeout=_CALL_TIMEOUT_S)
            machine = client.version().get("Arch", "")
            engine = cls(client)
        if machine != "amd64":
            raise EngineError(
                f"the container engine is for {machine}", "images are built for amd64 machines: use one of those"
            )
        return engine

    @classmethod
    def available(cls) -> bool:
        """True where an engine answers."""
        try:
            cls.connect()
        except (EngineError, SetupError):
            return False
        return True

    def has_image(self, tag: str) -> bool:
        """True where the image is there already."""
        with _talking():
            try:
                self._client.images.get(tag)
            except _sdk().errors.ImageNotFound:
                return False
            return True

    def pull(self, tag: str) -> bool:
        """Fetch an image from its registry; False where no registry answers in time or it has no such image."""
        sdk, failures = _sdk(), _failures()
        repository, _, version = tag.rpartition(":")
        try:
            client = sdk.from_env(timeout=_PULL_TIMEOUT_S)
            events = list(client.api.pull(repository, tag=version, stream=True, decode=True))
        except failures:
            return False
        return not any("error" in event for event in events)

    def import_image(self, archive: Path, tag: str) -> None:
        """Make an image of a tar of a root folder.

        Raises:
            EngineError: The engine refuses it or is gone.
        """
        repository, _, version = tag.rpartition(":")
        with _talking():
            answer = str(self._client.api.import_image(src=str(archive), repository=repository, tag=version))
        if '"error"' in answer:
            raise EngineError(f"the engine did not take {archive.name} ({answer.strip()})", "see its log")

    def build(self, context: Path, tag: str, arguments: Mapping[str, str], on_progress: Progress) -> None:
        """Build an image on the host's network, reporting each step.

        Raises:
            EngineError: A step failed; its last lines are in the sentence.
        """
        lines: list[str] = []
        with _talking():
            events = self._client.api.build(
                path=str(context), tag=tag, buildargs=dict(arguments), network_mode="host", rm=True, forcerm=True,
                decode=True, timeout=1800,
            )  # fmt: skip
            for event in events:
                text = str(event.get("stream") or event.get("error") or "").strip()
                lines += [text] if text else []
                if text.startswith("Step "):
                    on_progress(f"{tag}: {text}")
                if "error" in event:
                    raise EngineError(f"image {tag} can't be built ({' / '.join(lines[-4:])})", "try again in a minute")

    def run(self, image: str, command: list[str], mounts: Mapping[Path, str], limits: Limits) -> ContainerResult:
        """Run one container to its end and remove it.

        Args:
            image: Tag of the image.
            command: Program and arguments.
            mounts: Folders of this machine to where they appear, with ``:ro`` behind it where read-only.
            limits: What it may use.

        Raises:
            EngineError: The engine died. What the program does is a result, not an error.
        """
        with _talking():
            container = self._client.containers.create(image, command, **self._hardening(mounts, limits))
            try:
                container.start()
                exit_code = self._wait(container, limits.timeout_s)
                container.reload()
                oom_killed = bool(container.attrs["State"]["OOMKilled"])
                log = container.logs(tail=_LOG_LINES).decode("utf-8", errors="replace")
            finally:
                self._remove(container)
        return ContainerResult(exit_code if exit_code is not None else -1, oom_killed, exit_code is None, log)

    def sweep(self) -> int:
        """Remove containers whose process was killed; how many there were."""
        with _talking():
            found = self._client.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)
            orphans = [container for container in found if is_orphan(container.labels)]
            for container in orphans:
                self._remove(container)
        return len(orphans)

    def _hardening(self, mounts: Mapping[Path, str], limits: Limits) -> dict[str, Any]:
        """Everything that is taken away from the container."""
        sdk = _sdk()
        memory = f"{limits.memory_mib}m"
        # As root here, nobody there; otherwise ourselves, so that what it writes can be removed again
        user = os.getuid() or _NOBODY
        return {
            "user": f"{user}:{os.getgid() or _NOBODY}",
            "hostname": "device",  # its length is part of the environment, and so of the instruction count
            "labels": labels_of_this_process(),
            "volumes": [f"{source}:{target}" for source, target in mounts.items()],
            "nano_cpus": int(min(limits.cores, self._cores) * 1e9),
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": limits.processes,
            "network_mode": "none",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # a crash of process 1 would hang for ever: signals do not end it
            "ulimits": [sdk.types.Ulimit(name="core", soft=0, hard=0)],
            "log_config": sdk.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
        }

    def _wait(self, container: Any, timeout_s: float) -> int | None:
        """Exit code, or None where time ran out."""
        try:
            return int(container.wait(timeout=timeout_s)["StatusCode"])
        except _timeouts() as error:
            if "timed out" not in str(error).lower():
                raise
        self._client.ping()  # a dead engine is not a slow model
        return None

    def _remove(self, container: Any) -> None:
        """Remove a container; a dead engine is reported by the call that met it first, and the next sweep tidies up."""
        with contextlib.suppress(*_failures()):
            container.remove(force=True, v=True)


def _sdk() -> Any:
    """The Docker SDK, loaded when it is first needed.

    Raises:
        SetupError: It is not installed.
    """
    try:
        import docker
    except ImportError as error:
        raise SetupError("the Docker SDK is not installed", "run `pip install tinymlops[server]`") from error
    return docker


def _failures() -> tuple[type[Exception], ...]:
    """What the SDK raises when the engine refuses, dies or was never there."""
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    return (_sdk().errors.DockerException, RequestException, HTTPError)


def _timeouts() -> tuple[type[Exception], ...]:
    """What the SDK raises when an answer does not come in time: older versions call it a lost connection."""
    from requests.exceptions import ConnectionError as LostConnection
    from requests.exceptions import ReadTimeout

    return (ReadTimeout, LostConnection)


def _address() -> str:
    return os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"


@contextlib.contextmanager
def _talking(cause: str = "") -> Iterator[None]:
    """Turns the SDK's failures into an EngineError."""
    try:
        yield
    except _failures() as error:
        refused = getattr(error, "explanation", None)
        if refused:
            raise EngineError(f"the container engine refused ({refused})", "see its log") from error
        raise EngineError(cause or "the container engine stopped answering", _HOW_TO_START) from error
