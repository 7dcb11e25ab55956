"""MLflow holds the versions; a log of our own holds who was given which, and why.

Importing this costs nothing: MLflow is imported when something is registered.
"""

from tinymlops.registry.builds import register_build
from tinymlops.registry.promotions import Promotion, PromotionLog, verify_log
from tinymlops.registry.release_notes import note_release
from tinymlops.registry.values import Registration, RegistrySettings, alias_of, model_name

__all__ = [
    "Promotion",
    "PromotionLog",
    "Registration",
    "RegistrySettings",
    "alias_of",
    "model_name",
    "note_release",
    "register_build",
    "verify_log",
]
