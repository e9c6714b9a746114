"""A classifier of useful trials that knows how sure it may be.

Logistic regression on features of the trials, seen straight or through a Gaussian kernel; which,
its penalty and its calibration are chosen on answers that it was not trained on. It decides about a
trial where the audit slice supports it, and says nothing elsewhere.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mili_jax.improve.audit import audit_slice, uniform

LEAST = 40  # answers before anything is trained
TARGET = 0.95  # of the decisions in either direction, how many shall be right
PRUDENCE = 0.7  # of the wrong decisions that `TARGET` allows, how many are planned for
SUPPORT = 10  # answers of the audit slice that a direction needs
RARE = 0.2
FOLDS = 5
PENALTIES = (0.03, 0.1, 0.3, 1.0)
WIDTHS = (1 / 3, 2 / 3)  # of the kernel, in mean squared distances
LANDMARKS, DIRECTIONS = 200, 64
_STEPS = 12  # of Newton, each of which usually gains a digit or two
_ROWS = 4096  # that are worked on at a time
_ORDER = 5  # a stream of `uniform`


@dataclasses.dataclass(frozen=True)
class Design:
    """What a classifier sees of features x [n,F]: their projection on `directions` [m,F] from
    `landmarks`' mean, or exp(-|x - landmark|^2 / width) for each of m landmarks, made white by
    `project` [m,k] (Nystroem's method: Williams and Seeger 2001). width: None for the former."""

    landmarks: np.ndarray
    project: np.ndarray
    width: float | None

    def of(self, x: np.ndarray) -> np.ndarray:
        """x [n,F] -> float64 [n,k]."""
        x = x.astype(np.float64)
        if self.width is None:
            return np.asarray((x - self.landmarks.mean(0)) @ self.project)
        return np.asarray(np.exp(-_squares(x, self.landmarks) / self.width) @ self.project)


def designs(features: np.ndarray) -> list[Design]:
    """The ways in which features [N,F] of all trials, answered or not, are looked at."""
    chosen = np.argsort(uniform(len(features), _ORDER), kind="stable")[:LANDMARKS]
    landmarks = features[np.sort(chosen)].astype(np.float64)
    squares = _squares(landmarks, landmarks)
    mean = float(squares.mean()) or 1.0
    _, _, directions = np.linalg.svd(landmarks - landmarks.mean(0), full_matrices=False)
    made = [Design(landmarks, directions[:DIRECTIONS].T / np.sqrt(mean / 2), None)]
    for width in WIDTHS:
        values, vectors = np.linalg.eigh(np.exp(-squares / (width * mean)))
        keep = values > 1e-6
        made.append(Design(landmarks, vectors[:, keep] / np.sqrt(values[keep]), width * mean))
    return made


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|^2, [n,m] of a [n,F] and b [m,F]."""
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0))


@dataclasses.dataclass(frozen=True)
class Classifier:
    """P(useful | x) = sigmoid(slope * (design(x) . weight + bias) + offset), weight float64 [k]."""

    design: Design
    weight: np.ndarray
    bias: float
    slope: float
    offset: float

    def probability(self, x: np.ndarray) -> np.ndarray:
        """x [N,F] -> P(useful), float64 [N]."""
        parts = [
            self.design.of(x[i : i + _ROWS]) @ self.weight + self.bias
            for i in range(0, len(x), _ROWS)
        ]
        return _sigmoid(self.slope * np.concatenate([*parts, np.zeros(0)]) + self.offset)


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


def fit(design: np.ndarray, useful: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """(weight [k], bias): the minimum of the log loss of design [n,k] and useful bool [n], plus
    penalty / 2 |weight|^2, by Newton's method."""
    rows = np.concatenate([design, np.ones((len(design), 1))], 1)
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 1e-3  # or a bias without bounds where all answers are equal
    w = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        p = _sigmoid(rows @ w)
        gradient = rows.T @ (p - useful) + ridge * w
        curvature = np.maximum(p * (1 - p), 1e-6)
        step = np.linalg.solve((rows.T * curvature) @ rows + np.diag(ridge), gradient)
        w = w - step * min(1.0, 5.0 / (np.abs(rows @ step).max() + 1e-12))
        if np.abs(rows @ step).max() < 1e-4:
            break
    return w[:-1], float(w[-1])


def train(
    ways: list[Design], x: np.ndarray, useful: np.ndarray, sample: np.ndarray
) -> tuple[Classifier, np.ndarray]:
    """A classifier of x [n,F] and useful bool [n], and P(useful) of each of these by classifiers
    that did not see its answer, float64 [n]; both are calibrated alike.

    sample: which of them are a random sample of all trials, bool [n]. Calibration takes these
    alone, if there are enough: answers to chosen trials are not like the rest.
    """
    if min(useful[sample].sum(), (~useful[sample]).sum()) < FOLDS:
        sample = np.ones(len(x), bool)
    # Each fold has its share of both answers.
    fold = np.empty(len(x), int)
    for answer in (False, True):
        mine = np.flatnonzero(useful == answer)
        fold[mine] = np.arange(len(mine)) % FOLDS
    best = None
    for way in ways:
        design = way.of(x)
        for penalty in PENALTIES:
            logits = np.zeros(len(x))
            for k in range(FOLDS):
                weight, bias = fit(design[fold != k], useful[fold != k], penalty)
                logits[fold == k] = design[fold == k] @ weight + bias
            slope, offset = _calibrate(logits[sample], useful[sample])
            z = slope * logits + offset
            # All answers choose the way, by a calibration of their own.
            a, b = _calibrate(logits, useful)
            own = a * logits + b
            loss = float(np.mean(np.logaddexp(0, np.where(useful, -own, own))))
            if best is None or loss < best[0]:
                best = loss, way, design, penalty, slope, offset, z
    assert best is not None
    _, way, design, penalty, slope, offset, z = best
    return Classifier(way, *fit(design, useful, penalty), slope, offset), _sigmoid(z)


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


def thresholds(
    rest: np.ndarray, p: np.ndarray, useful: np.ndarray, target: float = TARGET
) -> tuple[float, float]:
    """(no, yes): the widest confidences at which `target` of the decisions should be right.

    Args:
      rest: P(useful) of the trials to decide about, [N].
      p, useful: P(useful), held out, and the answer of a random sample of trials, [n].

    The calibrated probabilities expect `PRUDENCE` times as many wrong decisions as `target` allows,
    since they come from few answers. And the sample has to support `target`: at least `SUPPORT` of
    it are decided alike, and as few right ones as there are would not be rare (`RARE`) if it were
    true. Where no confidence does, -1 or 2.
    """
    no = _widest(1 - rest, 1 - p, ~useful, target)
    yes = _widest(rest, p, useful, target)
    return -1.0 if no is None else 1 - no, 2.0 if yes is None else yes


def _widest(rest: np.ndarray, p: np.ndarray, right: np.ndarray, target: float) -> float | None:
    order = np.sort(rest[rest > 0.5])[::-1]
    expected = np.cumsum(order) / np.arange(1, len(order) + 1)
    whole = np.append(order[1:] < order[:-1], True)  # of equal ones all are decided or none
    for least in order[whole & (expected >= 1 - PRUDENCE * (1 - target))][::-1]:
        decided = p >= least
        n, k = int(decided.sum()), int(right[decided].sum())
        if n < SUPPORT:
            return None  # there are even fewer at higher confidences
        if _at_most(k, n, target) >= RARE:
            return float(least)
    return None


def _at_most(k: int, n: int, share: float) -> float:
    """P(at most k of n) where each comes with this share."""
    return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


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
    known = features[there]
    audit = audit_slice(len(features))[answered]
    made, held_out = train(designs(known), features[answered], useful, audit)
    probability = np.full(len(features), np.nan)
    probability[there] = made.probability(known)
    p, said = held_out[audit], useful[audit]
    open_ = there.copy()
    open_[answered] = False
    no, yes = thresholds(probability[open_], p, said, target)
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
