"""MLflow's word of a retraining: tags on the run of the challenger's build and on its versions."""

from __future__ import annotations

from collections.abc import Mapping

from tinymlops.registry.connection import connect, plain_errors
from tinymlops.registry.values import Registration, RegistrySettings

_LONGEST_TAG = 500
"""Of a model version; MLflow refuses more than 5,000 bytes."""


def note_retraining(registration: Registration, facts: Mapping[str, str], *, settings: RegistrySettings) -> None:
    """Tag a challenger with what became of it; once more changes nothing.

    Args:
        registration: Of the challenger's build.
        facts: Name → value; each becomes the tag ``retraining.<name>``.
        settings: Where the registry is.

    Raises:
        StorageError: MLflow can't be written.
    """
    with plain_errors(settings.tracking_uri):
        client = connect(settings)
        for name, value in facts.items():
            key, short = f"retraining.{name}", value[:_LONGEST_TAG]
            client.set_tag(registration.run_id, key, short)
            for version in registration.versions.values():
                client.set_model_version_tag(registration.model, version, key, short)
