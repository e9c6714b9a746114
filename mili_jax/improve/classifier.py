"""A classifier of useful trials that knows how sure it may be.

Logistic regression on features of the trials, L2 and calibration chosen on answers that it was not
trained on. It decides about a trial where the audit slice supports it, and says nothing elsewhere.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mili_jax.improve.audit import audit_slice

LEAST = 40  # answers before anything is trained
TARGET = 0.95  # of the decisions in either direction, how many shall be right
FOLDS = 5
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0)
_STEPS = 25  # of Newton


@dataclasses.dataclass(frozen=True)
class Classifier:
    """P(useful | x) = sigmoid(slope * (weight . (x - mean) / scale + bias) + offset).

    mean, scale, weight: float64 [F].
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: float
    slope: float = 1.0
    offset: float = 0.0

    def logit(self, x: np.ndarray) -> np.ndarray:
        """x [N,F] -> float64 [N], a few thousand rows at a time."""
        parts = [
            (x[i : i + 4096].astype(np.float64) - self.mean) / self.scale @ self.weight + self.bias
            for i in range(0, len(x), 4096)
        ]
        return self.slope * np.concatenate([*parts, np.zeros(0)]) + self.offset

    def probability(self, x: np.ndarray) -> np.ndarray:
        """x [N,F] -> P(useful), float64 [N]."""
        return _sigmoid(self.logit(x))


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a classifier says of N trials.

    probability: P(useful) of each, float64 [N].
    yes, no: whether it decides so, bool [N]; of those that people have answered it decides nothing.
    precision, recall: of useful on the audit slice, by classifiers that did not see the answer, of
      what they decide; nan where they decide nothing.
    coverage: share of the audit slice that they decide.
    audited: answers of the audit slice.
    """

    probability: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    precision: float
    recall: float
    coverage: float
    audited: int

    @property
    def sure(self) -> int:
        """How many answers it saves."""
        return int(self.yes.sum() + self.no.sum())


def fit(x: np.ndarray, useful: np.ndarray, penalty: float) -> Classifier:
    """The minimum of the log loss of x [n,F], useful bool [n], plus penalty / 2 |weight|^2, by
    Newton's method on standardised features. Uncalibrated."""
    x = x.astype(np.float64)
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, np.inf)
    design = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], 1)
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-3  # or a bias without bounds where all answers are equal
    w = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = _sigmoid(design @ w)
        gradient = design.T @ (p - useful) + ridge * w
        curvature = np.maximum(p * (1 - p), 1e-6)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(ridge), gradient)
        w = w - step * min(1.0, 5.0 / (np.abs(design @ step).max() + 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return Classifier(mean, np.where(np.isinf(scale), np.inf, scale), w[:-1], float(w[-1]))


def train(x: np.ndarray, useful: np.ndarray) -> tuple[Classifier, np.ndarray]:
    """A calibrated classifier of x [n,F] and useful bool [n], and P(useful) of each of these by
    classifiers that did not see its answer, calibrated alike: float64 [n]."""
    # Each fold has its share of both answers.
    fold = np.empty(len(x), int)
    for answer in (False, True):
        mine = np.flatnonzero(useful == answer)
        fold[mine] = np.arange(len(mine)) % FOLDS
    held_out = {}
    for penalty in PENALTIES:
        logits = np.zeros(len(x))
        for k in range(FOLDS):
            if (fold == k).any():
                made = fit(x[fold != k], useful[fold != k], penalty)
                logits[fold == k] = made.logit(x[fold == k])
        held_out[penalty] = logits
    scaled = {penalty: _calibrate(logits, useful) for penalty, logits in held_out.items()}

    def loss(penalty: float) -> float:
        slope, offset = scaled[penalty]
        z = slope * held_out[penalty] + offset
        return float(np.mean(np.logaddexp(0, np.where(useful, -z, z))))

    best = min(PENALTIES, key=loss)
    slope, offset = scaled[best]
    made = dataclasses.replace(fit(x, useful, best), slope=slope, offset=offset)
    return made, _sigmoid(slope * held_out[best] + offset)


def _calibrate(logits: np.ndarray, useful: np.ndarray) -> tuple[float, float]:
    """Platt's slope and offset, with his targets that keep off 0 and 1 (Platt 1999)."""
    yes, no = useful.sum(), (~useful).sum()
    target = np.where(useful, (yes + 1) / (yes + 2), 1 / (no + 2))
    design = np.stack([logits, np.ones_like(logits)], 1)
    w = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = _sigmoid(design @ w)
        hessian = (design.T * np.maximum(p * (1 - p), 1e-6)) @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (p - target) + 1e-3 * (w - [1.0, 0.0]))
        w = w - step * min(1.0, 5.0 / (np.abs(design @ step).max() + 1e-12))
    return max(float(w[0]), 1e-3), float(w[1])


def thresholds(p: np.ndarray, useful: np.ndarray, target: float = TARGET) -> tuple[float, float]:
    """(no, yes): the widest confidences at which at least `target` of the decisions are right.

    Args:
      p, useful: P(useful) and the answer of a random sample of trials, [n].

    A share is taken with one right and one wrong decision more than there are (Laplace), so a few
    answers support nothing: then it is -1, or 2.
    """
    return -1.0 if (no := _widest(1 - p, ~useful, target)) is None else 1 - no, (
        2.0 if (yes := _widest(p, useful, target)) is None else yes
    )


def _widest(confidence: np.ndarray, right: np.ndarray, target: float) -> float | None:
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    counts = np.arange(1, len(order) + 1)
    good = ((hits + 1) / (counts + 2) >= target) & (confidence[order] > 0.5)
    return float(confidence[order][np.flatnonzero(good)[-1]]) if good.any() else None


def decide(
    features: np.ndarray, answered: np.ndarray, useful: np.ndarray, target: float = TARGET
) -> Decision | None:
    """Trains on the answers so far and decides about the rest.

    Args:
      features: of N trials, [N,F], rows of nan where there are none.
      answered: numbers of trials that people have answered, int [n]. useful: what they said, bool
        [n].

    Returns None while there are fewer than `LEAST` answers, or one of the two hardly comes up.
    """
    there = np.isfinite(features[:, 0])
    seen = there[answered]
    answered, useful = answered[seen], useful[seen]
    if len(answered) < LEAST or min(useful.sum(), (~useful).sum()) < FOLDS:
        return None
    made, held_out = train(features[answered], useful)
    probability = np.full(len(features), np.nan)
    probability[there] = made.probability(features[there])
    audit = audit_slice(len(features))[answered]
    p, said = held_out[audit], useful[audit]
    no, yes = thresholds(p, said, target)
    open_ = there.copy()
    open_[answered] = False
    with np.errstate(invalid="ignore"):
        says_yes, says_no = open_ & (probability >= yes), open_ & (probability <= no)
    positive, negative = p >= yes, p <= no
    right = (positive & said).sum()
    return Decision(
        probability,
        says_yes,
        says_no,
        precision=_share(right, positive.sum()),
        recall=_share(right, (said & (positive | negative)).sum()),
        coverage=_share((positive | negative).sum(), len(p)),
        audited=len(p),
    )


def _share(some: np.integer, of: np.integer | int) -> float:
    return float(some / of) if of else float("nan")


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(z)))
