"""Train a workload's float network, and the scikit-learn reference it has to beat.

Functions whose names end in ``_here`` run in a process of their own (``isolation.call_isolated``).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.errors import WorkloadError
from tinymlops.isolation import Progress, call_isolated, silent
from tinymlops.measurement import Scores
from tinymlops.workloads.base import Workload
from tinymlops.workloads.catalogue import load_workload
from tinymlops.workloads.values import Samples, Split, Task


class Epoch(msgspec.Struct, frozen=True):
    """One pass over the training rows: its mean loss, and the validation loss after it."""

    loss: float
    validation_loss: float


class TrainedNetwork(msgspec.Struct, frozen=True):
    """A float network after training.

    Attributes:
        weights: All weights, as ``pack_weights`` makes them; the same inputs give the same bytes.
        parameters: How many numbers that are.
        scores: Of the float network, computed by Keras.
        history: One entry an epoch.
    """

    weights: bytes
    parameters: int
    scores: Scores
    history: tuple[Epoch, ...]


class Reference(msgspec.Struct, frozen=True):
    """A well-known estimator on the same split, so that a weak network can't hide.

    Attributes:
        name: For people.
        scores: On the same rows, by the same metric.
    """

    name: str
    scores: Scores


def train(reference: str, seed: int, *, timeout_s: float = 3600, on_progress: Progress = silent) -> TrainedNetwork:
    """Train the network of the workload called ``reference``, in a process of its own.

    Raises:
        TinyMLOpsError: As ``load_workload`` does.
        WorkloadError: The network does not fit the data, or its loss became NaN.
        CompressionError: The process crashed, or took longer than ``timeout_s``.
    """
    return call_isolated(_train_here, reference, seed, timeout_s=timeout_s, on_progress=on_progress)


def fit_reference(reference: str, seed: int, *, timeout_s: float = 3600, on_progress: Progress = silent) -> Reference:
    """Fit a random forest to the training and validation rows of the workload, in a process of its own.

    A forest needs no early stopping, so it gets the rows that the network spends on that: its
    validation score is left as NaN.
    """
    return call_isolated(_fit_reference_here, reference, seed, timeout_s=timeout_s, on_progress=on_progress)


def score(workload: Workload, split: Split, validation: NDArray[np.float32], test: NDArray[np.float32]) -> Scores:
    """The workload's metric on outputs for both parts of ``split``, each of shape (rows, outputs)."""
    compute = workload.metric.compute
    return Scores(
        metric=workload.metric.name,
        higher_is_better=workload.metric.higher_is_better,
        validation=compute(split.validation.targets, validation),
        test=compute(split.test.targets, test),
    )


def pack_weights(weights: list[NDArray[np.generic]]) -> bytes:
    """A list of arrays as bytes; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {f"{index:04}": array for index, array in enumerate(weights)}
    np.savez(buffer, **named)
    return buffer.getvalue()


def unpack_weights(content: bytes) -> list[NDArray[np.generic]]:
    """The list that ``pack_weights`` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one fit is.

    Attributes:
        epochs: Passes over the rows.
        learning_rate: Peak of the cosine schedule.
        early_stopping: Stop after ``FitPlan.patience`` epochs without progress, and keep the best weights.
    """

    epochs: int
    learning_rate: float
    early_stopping: bool


def prepare_tensorflow(seed: int) -> None:
    """Make this process's TensorFlow repeatable: one thread, deterministic kernels, ``seed`` everywhere."""
    import tensorflow as tf
    import tf_keras as keras

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def build_network(workload: Workload, split: Split) -> Any:
    """A new network of ``workload``, checked against its data.

    Raises:
        WorkloadError: ``network`` raised, returned no tf_keras model, or one of other shapes.
    """
    import tf_keras as keras

    try:
        model = workload.network()
    except Exception as error:
        text = str(error).split("\n", maxsplit=1)[0][:300]
        raise WorkloadError(
            f"{workload.name} failed in network() ({type(error).__name__}: {text})", "mend it"
        ) from error
    if not isinstance(model, keras.Model):
        hint = "build it with `import tf_keras as keras`, not with Keras 3"
        raise WorkloadError(f"network() of {workload.name} returned {type(model).__name__}, no tf_keras model", hint)
    wanted = ((None, *split.train.inputs.shape[1:]), (None, len(workload.labels)))
    for what, shape, want in zip(("takes", "gives"), (model.input_shape, model.output_shape), wanted, strict=True):
        if tuple(shape)[1:] != want[1:]:
            raise WorkloadError(
                f"the network of {workload.name} {what} shape {tuple(shape)[1:]}, its data and labels need {want[1:]}",
                "make them agree",
            )
    return model


def fit(model: Any, workload: Workload, split: Split, schedule: Schedule, **extra: Any) -> tuple[Epoch, ...]:
    """Fit ``model`` in place.

    Args:
        model: Any tf_keras model, also one wrapped for pruning, clustering or quantization.
        workload: Its plan gives batch size, label smoothing and augmentation.
        split: Train and validation rows; test rows are not looked at.
        schedule: Length and speed.
        extra: ``seed`` for augmentation and order, ``callbacks``, ``on_progress`` and ``text`` for progress.

    Raises:
        WorkloadError: The loss became NaN.
    """
    import tf_keras as keras

    on_progress: Progress = extra.get("on_progress", silent)
    text: str = extra.get("text", "training")
    batches = _Batches(workload, split.train, extra["seed"])
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, schedule.epochs * len(batches))
    model.compile(optimizer=keras.optimizers.Adam(rate, clipnorm=1.0), loss=_loss(workload))
    callbacks = list(extra.get("callbacks", ()))
    callbacks.append(
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: on_progress(epoch + 1, schedule.epochs, text))
    )
    if schedule.early_stopping:
        stop = keras.callbacks.EarlyStopping(patience=workload.fit.patience, restore_best_weights=True)
        callbacks.append(stop)
    history = model.fit(
        batches.as_sequence(),
        epochs=schedule.epochs,
        validation_data=(split.validation.inputs, _targets(workload, split.validation)),
        validation_batch_size=512,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    ).history
    epochs = tuple(Epoch(*pair) for pair in zip(history["loss"], history["val_loss"], strict=True))
    if not all(math.isfinite(epoch.loss) for epoch in epochs):
        raise WorkloadError(f"the loss of {workload.name} became NaN", "lower learning_rate in its FitPlan")
    return epochs


class _Batches:
    """Training batches: reshuffled and augmented each epoch, from one seed."""

    def __init__(self, workload: Workload, samples: Samples, seed: int) -> None:
        self._workload, self._samples, self._seed, self._epoch = workload, samples, seed, 0
        self._size = workload.fit.batch_size
        self._targets = _targets(workload, samples)
        self._shuffle()

    def __len__(self) -> int:
        return math.ceil(len(self._samples) / self._size)

    def _shuffle(self) -> None:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._samples))
        inputs = self._samples.inputs[order]
        augment = self._workload.fit.augment
        self._current = (augment(inputs, rng) if augment else inputs, self._targets[order])
        self._epoch += 1

    def as_sequence(self) -> Any:
        """A ``keras.utils.Sequence`` over these batches; the class must be made where Keras is imported."""
        import tf_keras as keras

        outer = self

        class Sequence(keras.utils.Sequence):  # type: ignore[misc]
            def __len__(self) -> int:
                return len(outer)

            def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
                rows = slice(index * outer._size, (index + 1) * outer._size)
                return outer._current[0][rows], outer._current[1][rows]

            def on_epoch_end(self) -> None:
                outer._shuffle()

        return Sequence()


def _loss(workload: Workload) -> Any:
    import tf_keras as keras

    if workload.task is Task.REGRESSION:
        return keras.losses.Huber()
    return keras.losses.CategoricalCrossentropy(label_smoothing=workload.fit.label_smoothing)


def _targets(workload: Workload, samples: Samples) -> NDArray[np.generic]:
    if workload.task is Task.REGRESSION:
        return samples.targets
    one_hot: NDArray[np.float32] = np.eye(len(workload.labels), dtype=np.float32)[samples.targets]
    return one_hot


def _train_here(reference: str, seed: int, on_progress: Progress) -> TrainedNetwork:
    prepare_tensorflow(seed)
    loaded = load_workload(reference, seed)
    workload, split = loaded.workload, loaded.split
    model = build_network(workload, split)
    schedule = Schedule(workload.fit.epochs, workload.fit.learning_rate, early_stopping=True)
    history = fit(model, workload, split, schedule, seed=seed, on_progress=on_progress)
    outputs = [model.predict(part.inputs, batch_size=512, verbose=0) for part in (split.validation, split.test)]
    return TrainedNetwork(
        weights=pack_weights(model.get_weights()),
        parameters=int(model.count_params()),
        scores=score(workload, split, *outputs),
        history=history,
    )


def _fit_reference_here(reference: str, seed: int, on_progress: Progress) -> Reference:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    loaded = load_workload(reference, seed)
    workload, split = loaded.workload, loaded.split
    classify = workload.task is Task.CLASSIFICATION
    kind = RandomForestClassifier if classify else RandomForestRegressor
    on_progress(0, 1, "fitting the reference")
    rows = [workload.reference_features(part.inputs) for part in (split.train, split.validation)]
    targets = np.concatenate([split.train.targets, split.validation.targets])
    forest = kind(n_estimators=200, min_samples_leaf=1 if classify else 5, n_jobs=-1, random_state=seed)
    forest.fit(np.concatenate(rows), targets if classify else targets.reshape(len(targets), -1).squeeze())
    features = workload.reference_features(split.test.inputs)
    outputs = forest.predict_proba(features) if classify else forest.predict(features).reshape(len(features), -1)
    full = np.zeros((len(features), len(workload.labels)), np.float32)
    full[:, forest.classes_ if classify else slice(None)] = outputs
    on_progress(1, 1, "fitting the reference")
    test = workload.metric.compute(split.test.targets, full)
    scores = Scores(workload.metric.name, workload.metric.higher_is_better, validation=math.nan, test=test)
    return Reference("random forest, 200 trees", scores)
