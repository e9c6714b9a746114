"""What tests of reports are made of: rows as a run writes them, a page as a browser reads it."""

import contextlib
import html.parser
import re
import resource

import numpy as np

GROUPS = ("press", "grasp", "push", "place")

# Chance of success by group, in the order of GROUPS, per (method, round, demo).
RATES = {
    ("meta_imitation", 0, "right"): (0.79, 0.34, 0.02, 0.16),
    ("meta_imitation", 0, "wrong"): (0.10, 0.05, 0.01, 0.02),
    ("meta_imitation", 0, "none"): (0.22, 0.08, 0.01, 0.03),
    ("meta_imitation", 1, "right"): (0.88, 0.38, 0.02, 0.28),
    ("random_pairs", 1, "right"): (0.70, 0.30, 0.03, 0.12),
    ("mili", 1, "right"): (0.91, 0.48, 0.14, 0.33),
    ("mili", 1, "wrong"): (0.12, 0.06, 0.02, 0.04),
    ("mili", 1, "none"): (0.25, 0.10, 0.01, 0.02),
    ("oracle", 1, "right"): (0.92, 0.47, 0.15, 0.35),
}


# MILI's first round with one thing changed, as chances of success.
VARIANTS = {
    "mili_trials_375": (0.88, 0.40, 0.05, 0.28),
    "mili_trials_1500": (0.90, 0.44, 0.08, 0.30),
    "mili_noise_20": (0.85, 0.40, 0.05, 0.30),
    "mili_alpha_950": (0.90, 0.46, 0.12, 0.30),
}


def result_rows(seeds=(0,), tasks=10, n=10, split="test", rates=RATES):
    """Rows as a run writes them; tasks differ in difficulty and outcomes are paired."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.08, size=(len(GROUPS), tasks))
    luck = rng.uniform(size=(len(seeds), len(GROUPS), tasks, n))
    rows = []
    for (method, number, demo), chances in rates.items():
        for s, seed in enumerate(seeds):
            for f, family in enumerate(GROUPS):
                for t in range(tasks):
                    chance = np.clip(chances[f] + difficulty[f, t], 0, 1)
                    outcomes = (luck[s, f, t] < chance).astype(int).tolist()
                    rows.append(
                        {
                            "config": "quick",
                            "commit": "0123abc",
                            "method": method,
                            "round": number,
                            "seed": seed,
                            "split": split,
                            "family": family,
                            "task": f"{family}:object_{t:02d}",
                            "demo": demo,
                            "n": n,
                            "successes": sum(outcomes),
                            "any_task": min(n, sum(outcomes) + 1),
                            "outcomes": outcomes,
                        }
                    )
    return rows


def pairing_rows():
    return [
        {
            "config": "quick",
            "round": 1,
            "seed": seed,
            "alpha": alpha,
            "chosen": alpha == 0.9,
            "pairs": int(200_000 * (1 - alpha) ** 1.2) + 50,
            "precision": 0.02 + 0.25 * alpha**12 + 0.01 * seed,
            "recall": 1 - alpha**9,
            "family_precision": 0.6 + 0.37 * alpha**4,
        }
        for seed in (0, 1)
        for alpha in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    ]


def training_metrics():
    rng = np.random.default_rng(1)
    rows = []
    for stage, steps, start in (("pretrain", 2500, 3.0), ("retrain_1", 900, -2.2)):
        for step in range(0, steps, 10):
            gone = np.exp(-step / 600)
            rows.append(
                {
                    "stage": stage,
                    "step": step,
                    "nll": -4 + (start + 4) * gone + rng.normal(0, 0.25),
                    "contrastive": 0.05 + 0.4 * gone + abs(rng.normal(0, 0.03)),
                    "grad_norm": float(rng.uniform()),
                }
            )
            if step % 250 == 0:
                rows.append({"stage": stage, "step": step, "accuracy_task": 0.66 - 0.5 * gone})
                rows.append({"stage": stage, "step": step, "accuracy_family": 0.97 - 0.4 * gone})
    return rows


def embedding(n=360, trials=400):
    rng = np.random.default_rng(2)
    family = [GROUPS[i % 4] for i in range(n + trials)]
    centres = rng.normal(size=(4, 32))
    tasks = rng.normal(size=(40, 32))
    z = np.stack([centres[i % 4] + 0.5 * tasks[i % 40] for i in range(n + trials)])
    z += 0.12 * rng.normal(size=z.shape)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return {
        "z": z.astype(np.float32),
        "family": family,
        "task": [f"{GROUPS[i % 4]}:{i % 40}" for i in range(n + trials)],
        "split": [("train", "train", "train", "validation", "test")[i % 5] for i in range(n)]
        + ["train"] * trials,
        "kind": ["demo"] * n + ["trial"] * trials,
    }


def collection():
    counts = {"press": 489, "grasp": 250, "push": 162, "place": 47}
    return [
        {
            "round": 1,
            "trials": 3200,
            "useful": 941,
            "achieved": counts,
            "confusion": {
                "press": {"press": 310, "grasp": 30, "push": 40, "place": 5, "none": 415},
                "grasp": {"press": 80, "grasp": 150, "push": 32, "place": 8, "none": 530},
                "push": {"press": 60, "grasp": 40, "push": 60, "place": 6, "none": 634},
                "place": {"press": 39, "grasp": 30, "push": 30, "place": 28, "none": 673},
            },
        }
    ]


def clip(frames, size=64, shift=0):
    """A table, a button and a gripper that travels to it."""
    y, x = np.mgrid[:size, :size]
    images = []
    for t in range(frames):
        image = np.full((size, size, 3), (196, 188, 176), np.uint8)
        image[: size // 5] = (120, 132, 148)
        image[(y - 46) ** 2 + (x - 44 - shift) ** 2 < 40] = (190, 40, 50)
        image[(abs(y - 38) < 7) & (abs(x - 15) < 6)] = (60, 110, 180)
        at = 12 + (32 + shift) * t / max(frames - 1, 1)
        image[(abs(y - 12 - 26 * t / max(frames - 1, 1)) < 8) & (abs(x - at) < 3)] = (50, 54, 60)
        images.append(image)
    return np.stack(images)


def films():
    return [
        {
            "title": f"{family} {'bottle_03' if success else 'mug_11'}",
            "family": family,
            "success": success,
            "demo": clip(12 + 3 * index),
            "attempt": clip(15, shift=6 if success else -9),
            "caption": "test task, arrangement 4",
        }
        for index, family in enumerate(GROUPS)
        for success in (False, True)
    ]


def everything():
    return {
        "title": "MILI on kitchenware, quick configuration",
        "config": {
            "seed": 0,
            "train": {"batch": 32, "learning_rate": 3e-4, "steps": 2500},
            "policy": {"head": "anchored", "image": (64, 64)},
        },
        "manifest": {
            "commit": "0123abc",
            "seconds": {"demos": 61.2, "pretrain": 412.0, "collect": 388.4},
            "versions": {"python": "3.11.2", "jax": "0.10.0", "pybullet": "3.2.7"},
        },
        "rows": result_rows(),
        "pairing_rows": pairing_rows(),
        "metrics": training_metrics(),
        "embedding": embedding(),
        "neighbours": {"task": 0.66, "family": 0.97},
        "collection": collection(),
        "videos": films(),
    }


class Page(html.parser.HTMLParser):
    """Collects references, text by heading and attributes; fails on tags that do not nest."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.open, self.references, self.headings, self.text = [], [], [], ""
        self.tags = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        self.references += [attrs[k] for k in ("src", "srcset", "href", "poster") if k in attrs]

    def handle_endtag(self, tag):
        if self.get_starttag_text() and self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            raise AssertionError(f"</{tag}> closes {self.open[-1:]}")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self.open:
            self.text += data + " "

    @property
    def words(self):
        return re.sub(r"\s+", " ", self.text)


def small(**changes):
    """The least that makes a page, for tests of one part."""
    return {"title": "t", "config": {}, "manifest": {}, "rows": []} | changes


def with_variants():
    rates = {**RATES, **{(method, 1, "right"): chance for method, chance in VARIANTS.items()}}
    rows = result_rows(seeds=(0, 1), rates=rates)
    for row in rows:
        row["trials"] = 3000 if row["method"] == "mili" else 0
    return rows


def mean_rate(rows, method, number=1):
    members = [r for r in rows if (r["method"], r["round"], r["demo"]) == (method, number, "right")]
    return np.mean(
        [
            sum(r["successes"] for r in members if r["family"] == family)
            / sum(r["n"] for r in members if r["family"] == family)
            for family in GROUPS
        ]
    )


# Names that people, languages and mischief give to tasks, groups and methods.
NASTY = (
    "open the upper drawer / left",
    "<script>alert('x')</script> & \"q\"",
    "\u0627\u0641\u062a\u062d \u0627\u0644\u062f\u0631\u062c",  # Arabic
    "\u62bd\u5c49\u3092\u958b\u3051\u308b",  # Japanese
    "../../etc/passwd",
    "very " * 39 + "long",
    "word" * 50,
    "$\\frac{1}{2$ _a_",
    "_hidden",
    "mean",
    "a\u202etfel ot thgir\nnew line\ttab \x00 \x1b[31m",
    "lone \ud800 surrogate",
    "| pipe | `tick`",
)


def other_domain(groups=("open drawer", "turn lever"), domain="cabinet", **how):
    """The rows of RATES with other groups and tasks, of another domain."""
    rows = []
    for row in result_rows(**how):
        at = GROUPS.index(row["family"])
        if at < len(groups):
            name = groups[at]
            task = f"{name} {row['task'].rpartition('_')[2]}"
            rows.append({**row, "family": name, "task": task, "domain": domain})
    return rows


def rows_of_groups(groups, tasks=2, **fields):
    """Rows of one policy whose k-th group succeeds in k + 1 of 20 episodes."""
    return [
        {
            "config": "c",
            "method": "mili",
            "round": 1,
            "seed": 0,
            "split": "test",
            "demo": "right",
            "family": group,
            "task": f"{group} {t}",
            "n": 20,
            "successes": k + 1,
            **fields,
        }
        for t in range(tasks)
        for k, group in enumerate(groups)
    ]


@contextlib.contextmanager
def full_disk(room):
    """No file can grow beyond so many bytes: writes fail as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
