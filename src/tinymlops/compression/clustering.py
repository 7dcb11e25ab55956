"""Weight clustering: each kernel keeps a few different weights, so that it packs well.

Han, Mao and Dally 2016, *Deep Compression* (arXiv 1510.00149), trained quantization and weight sharing.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.experimental import (  # has no public name
    cluster as sparsity_preserving,
)

from tinymlops.compression.fine_tuning import FineTuning

_clustering = tfmot.clustering.keras


def cluster(model: Any, clusters: int, fine_tuning: FineTuning, *, preserve_sparsity: bool = False) -> Any:
    """A new model whose convolution and dense kernels each have at most ``clusters`` different weights.

    With ``preserve_sparsity`` zero is one of the centroids, and zeros stay zero.
    """
    # tfmot's cluster_weights changes the model it is given, hence the copy.
    settings = {
        "number_of_clusters": clusters,
        "cluster_centroids_init": _clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    copy = fine_tuning.copy(model)
    if preserve_sparsity:
        clustered = sparsity_preserving.cluster_weights(copy, preserve_sparsity=True, **settings)
    else:
        clustered = _clustering.cluster_weights(copy, **settings)
    fine_tuning.fit(clustered, "clustering")
    return _clustering.strip_clustering(clustered)
