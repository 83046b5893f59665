"""Whether voices are the same singer's: by embeddings, or by a probe on mels that needs no pretrained weights."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Mel = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

# Embeddings that are compared with all others at once, so that memory is flat.
_BLOCK = 1024


def equal_error_rate(scores: Floats, same: npt.NDArray[np.bool_]) -> float:
    """Returns the rate at which false acceptances and false rejections of a verifier are equal, from 0 to 1.

    Between the two thresholds where they cross, both rates are interpolated linearly.

    Args:
        scores: (N,) of trials, higher where more alike.
        same: (N,), whether a trial's two voices are one singer's.

    Raises:
        ValueError: the lengths differ, or all trials are of one kind.
    """
    from sklearn.metrics import roc_curve

    if scores.shape != same.shape:
        raise ValueError(f"scores of shape {scores.shape} do not fit truths of shape {same.shape}")
    n_same = int(np.count_nonzero(same))
    if not 0 < n_same < len(same):
        raise ValueError(f"{n_same} of {len(same)} trials are of the same singer; trials of both kinds are needed")
    accepted, hits, _ = roc_curve(same.astype(int), scores)
    excess = accepted - (1 - hits)
    after = int(np.argmax(excess >= 0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(accepted[after - 1] + share * (accepted[after] - accepted[after - 1]))


def retrieval_accuracy(embeddings: Floats, singers: Sequence[str]) -> float:
    """Returns the share of embeddings (N, D) whose nearest other one by cosine is of the same singer.

    An embedding whose singer has no other is not asked about; it can still be found by others.

    Raises:
        ValueError: the lengths differ, an embedding is 0, or no singer has two.
    """
    if len(embeddings) != len(singers):
        raise ValueError(f"{len(embeddings)} embeddings do not fit {len(singers)} singers")
    _, row_singers, counts = np.unique(np.asarray(singers, dtype=str), return_inverse=True, return_counts=True)
    asked = np.flatnonzero(counts[row_singers] > 1)
    if not len(asked):
        raise ValueError(f"none of {len(counts)} singers has two embeddings; there is nothing to be found")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"embedding {int(np.argmin(norms))} is 0 and has no direction")
    nearest = np.concatenate(
        [_nearest(embeddings / norms, asked[i : i + _BLOCK]) for i in range(0, len(asked), _BLOCK)]
    )
    return float(np.mean(row_singers[nearest] == row_singers[asked]))


def _nearest(directions: Floats, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    similarity = directions[rows] @ directions.T
    similarity[np.arange(len(rows)), rows] = -np.inf
    return np.asarray(similarity.argmax(1))


def mel_statistics(mels: Iterable[Mel]) -> Doubles:
    """Returns the mean and the standard deviation over frames of every bin, (N, 2 M), of mels (F, M).

    Raises:
        ValueError: there is no mel, or one has no frame.
    """
    rows = []
    for i, mel in enumerate(mels):
        if not len(mel):
            raise ValueError(f"mel {i} has no frame (shape {mel.shape})")
        frames = mel.astype(np.float64)
        rows.append(np.concatenate([frames.mean(0), frames.std(0)]))
    if not rows:
        raise ValueError("there is no mel")
    return np.stack(rows)


@dataclass(frozen=True, eq=False)
class SingerProbe:
    """Tells singers apart by linear discriminant analysis of `mel_statistics`.

    Fitted on real songs and asked about converted ones, it says how often these sound like their target. The
    covariance is shrunk by Ledoit and Wolf's rule, so that samples may be fewer than statistics.

    Attributes:
        classifier: a fitted `sklearn.discriminant_analysis.LinearDiscriminantAnalysis`.
    """

    classifier: Any

    @classmethod
    def fit(cls, mels: Iterable[Mel], singers: Sequence[str]) -> "SingerProbe":
        """Returns the probe of mels (F, M) and who sings each.

        Raises:
            ValueError: the lengths differ, there is one singer only, or there are no more mels than singers.
        """
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        statistics = mel_statistics(mels)
        _require_names(statistics, singers)
        known = len(set(singers))
        if not 1 < known < len(singers):
            raise ValueError(
                f"{len(singers)} mels of {known} singers; two singers, and more mels than them, are needed"
            )
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        return cls(classifier.fit(statistics, np.asarray(singers, dtype=str)))

    def predict(self, mels: Iterable[Mel]) -> list[str]:
        """Returns who each of the mels (F, M) sounds like most."""
        return [str(name) for name in self.classifier.predict(mel_statistics(mels))]

    def verification_error(self, mels: Iterable[Mel], singers: Sequence[str]) -> float:
        """Returns the equal error rate of verifying that mels (F, M) are of the singers named for them.

        A trial is a mel and one of the singers that the probe knows, its score the probe's log probability of that one.
        NaN where the probe knows none of the named singers, or nobody else.
        """
        known = [str(name) for name in self.classifier.classes_]
        scores = self.classifier.predict_log_proba(mel_statistics(mels))
        _require_names(scores, singers)
        same = np.array([[name == singer for name in known] for singer in singers])
        if not same.any() or same.all():
            return float("nan")
        return equal_error_rate(scores.ravel(), same.ravel())

    def accuracy(self, mels: Iterable[Mel], singers: Sequence[str]) -> float:
        """Returns the share of mels (F, M) that sound like the singer named for them.

        Raises:
            ValueError: the lengths differ, or the probe does not know a singer.
        """
        unknown = sorted(set(singers) - {str(name) for name in self.classifier.classes_})
        if unknown:
            raise ValueError(f"the probe was not fitted on {', '.join(unknown)}")
        predicted = self.predict(mels)
        _require_names(predicted, singers)
        return float(np.mean([p == s for p, s in zip(predicted, singers, strict=True)]))


def _require_names(rows: Sequence[str] | Doubles, singers: Sequence[str]) -> None:
    if len(rows) != len(singers):
        raise ValueError(f"{len(rows)} mels do not fit {len(singers)} singers")
