"""A model as a folder that an embedded engineer drops into a project: C, kernels with licences, self-test, README."""

from tinymlops.exporting.export import Export, export, make_export

__all__ = ["Export", "export", "make_export"]
