"""What a device has to know of a variant, worked out of its build."""

from tinymlops.manifests.description import describe, variants_for

__all__ = ["describe", "variants_for"]
