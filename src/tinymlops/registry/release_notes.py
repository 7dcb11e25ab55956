"""The promotion log's word of a release: which version went out to which kind of device."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from tinymlops.registry.promotions import Promotion, append, verify_log
from tinymlops.registry.selected import Registered
from tinymlops.registry.values import RegistrySettings


def note_release(
    registered: Registered, release: int, why: str, *, settings: RegistrySettings, who: str | None = None
) -> tuple[Promotion, ...]:
    """Append one line for each kind of device, unless a line of this release is there already.

    Args:
        registered: What was released.
        release: Number of the release.
        why: In words.
        settings: Where the log is.
        who: Who released; the user of this process if not given.

    Raises:
        StorageError: The log can't be written, or its chain is broken.
    """
    logged = {(one.device, one.model, one.release) for one in verify_log(settings.promotion_log).promotions}
    noted = []
    for device, selected in sorted(registered.devices.items()):
        if (device, registered.model, release) in logged:
            continue
        chosen = next(m.variant for m in selected.measurements if m.variant.recipe == selected.recipe)
        variant = registered.variants[chosen.sha256]
        noted.append(
            Promotion(
                who=who or getpass.getuser(),
                when=datetime.now(UTC).isoformat(timespec="seconds"),
                why=f"release {release}: {why}",
                device=device,
                model=registered.model,
                version=variant.version,
                recipe=variant.recipe,
                sha256=variant.sha256,
                release=release,
            )
        )
        append(settings.promotion_log, noted[-1])
    return tuple(noted)
