"""An int8 ``.tflite`` as C: one readable file, a static arena, kernels bit for bit as TensorFlow Lite Micro's."""

from tinymlops.codegen.generator import generate
from tinymlops.codegen.values import GeneratedModel, GeneratedOperator, GeneratedTensor, Helium, KernelSet

__all__ = ["GeneratedModel", "GeneratedOperator", "GeneratedTensor", "Helium", "KernelSet", "generate"]
