"""An int8 ``.tflite`` as C: one readable file, a static arena, and kernels that repeat TensorFlow Lite Micro bit for bit."""

from tinymlops.codegen.values import GeneratedModel, GeneratedOperator, GeneratedTensor, KernelSet

__all__ = ["GeneratedModel", "GeneratedOperator", "GeneratedTensor", "KernelSet"]
