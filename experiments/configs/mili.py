"""MILI (Singh et al. 2020), Algorithm 1, on the project's own benchmark.

    python -m experiments.mili --config=experiments/configs/mili.py:quick --workdir=runs/quick

`quick` takes under 30 minutes on 2 cores. `limited` has demonstrations of 16 tasks alone, so that
what the robot finds out by itself matters: three rounds, and everything that a round can train side
by side. `test` takes under 3 minutes (it checks that the loop runs, not that it learns), `paper` is
the scale of the paper: 100x100 pixels, 520 tasks, 60,000 trials. README.md has results.
"""

from ml_collections import ConfigDict

NAMES = ("quick", "limited", "test", "paper")


def get_config(name: str = "quick") -> ConfigDict:
    """The configuration of that name. Raises ValueError for another name."""
    if name not in NAMES:
        raise ValueError(f"no configuration {name!r}; one of {NAMES}")
    config = ConfigDict()
    config.name = name
    config.seed = 0  # of training and trials; test arrangements have their own

    config.data = ConfigDict()
    config.data.image_size = 64  # pixels; the paper has 100
    config.data.tasks = 200  # demonstrated training tasks; the paper bootstraps from 200 of 520
    config.data.demonstrations = 4  # per task
    config.data.noise = 1.0  # disturbance of the expert, in units of rollout.NOISE_*

    config.policy = ConfigDict()
    config.policy.embedding = "pose_anchored"  # or images_only_predicted, images_only (the paper's)
    config.policy.head = (
        "anchored_mixture"  # or spatial_softmax_mdn (the paper's), mse, discretised
    )
    config.policy.embedding_size = 64
    config.policy.channels = 32
    config.policy.blocks = 2
    config.policy.frames = 2  # encoded frames of a demonstration: 2 = first and last
    config.policy.places = 14  # poses of a demonstration: two key poses and 12 along it

    config.train = ConfigDict()
    config.train.steps = 2000
    config.train.batch = 48  # pairs of episodes
    config.train.policy_steps = 4  # time steps imitated per pair
    config.train.learning_rate = 3e-3
    config.train.contrastive = "supervised"  # or hinge (the paper's)
    config.train.contrastive_weight = 1.0
    config.train.demo_dropout = 0.05  # share of pairs imitated without a demonstration
    config.train.checkpoint_every = 250  # steps
    config.train.bfloat16 = False  # products of the encoder; on accelerators only

    config.improve = ConfigDict()
    config.improve.rounds = 1
    config.improve.trials = 2000  # per round
    config.improve.commanded_share = 0.5  # of the trials whose scene holds the demonstrated objects
    config.improve.trial_share = 0.7  # of later rounds' trials that follow an earlier trial
    config.improve.temperature = 0.0  # of the policy's samples; 0 takes the mode
    config.improve.alpha = 0.95  # least cosine of a pair; the paper's is 0.9
    config.improve.cap = 40  # most pairs per trial, nearest first
    config.improve.mutual = False  # both must be among each other's nearest
    config.improve.balance = True  # pairs drawn evenly over the families they resemble
    config.improve.rested = True  # only trials that came to rest before their time was over
    config.improve.pair_fraction = 0.5  # share of a batch that is pairs, on top of train.batch
    config.improve.steps = 500  # of retraining
    config.improve.learning_rate = 1e-3
    config.improve.warm_start = True
    config.improve.arms = ("mili", "control")  # and oracle, random: what a round compares

    config.evaluate = ConfigDict()
    config.evaluate.split = "test"
    config.evaluate.tasks = 40
    config.evaluate.episodes = 10  # per task
    config.evaluate.seed = 1000  # of the arrangements: the same for every method and seed
    config.evaluate.conditions = ("right", "wrong", "none")
    config.evaluate.videos = 2  # successes and failures shown per family

    config.machine = ConfigDict()
    config.machine.processes = 2
    config.machine.shard = 32  # episodes
    config.machine.pool_gb = 1.0  # GB of pictures; training on more streams them from the shards

    if name == "limited":
        config.data.tasks = 16
        config.train.steps = 800
        config.improve.trials = 3000
        config.improve.commanded_share = 0.25
        config.improve.arms = ("mili", "control", "oracle", "random")
        config.improve.rounds = 3
        config.improve.steps = 500
        config.improve.learning_rate = 2e-3
        config.evaluate.conditions = ("right",)
    elif name == "test":
        config.data.tasks = 16
        config.train.steps = 60
        config.train.batch = 8
        config.train.policy_steps = 4
        config.train.checkpoint_every = 30
        config.improve.trials = 48
        config.improve.steps = 20
        config.improve.alpha = 0.0
        config.improve.rested = False
        config.evaluate.tasks = 8
        config.evaluate.episodes = 2
        config.evaluate.videos = 1
        config.machine.shard = 16
    elif name == "paper":
        config.data.image_size = 100
        config.train.steps = 40_000
        config.train.batch = 64
        config.improve.trials = 60_000
        config.improve.steps = 20_000
        config.train.checkpoint_every = 1000
    return config.lock()
