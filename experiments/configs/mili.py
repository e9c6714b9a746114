"""MILI (Singh et al. 2020), Algorithm 1, on the project's own benchmark.

    python -m experiments.mili --config=experiments/configs/mili.py:quick --workdir=runs/quick

`quick` is what `make run` does. `limited` has demonstrations of 16 tasks alone, so that
what the robot finds out by itself matters, and three rounds. `compare` has less training and adds
the other methods and controls (see experiments/compare.py). `test` takes under 3 minutes (it checks
that the loop runs, not that it learns), `paper` is the scale of the paper: 100x100 pixels,
60,000 trials in 150 sets of objects. README.md has results.
"""

from ml_collections import ConfigDict

NAMES = ("quick", "limited", "compare", "test", "compare_test", "paper")


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
    config.train.truncated = True  # what a demonstration broken off shows is another task
    config.train.recall_weight = 1.0  # of finding again what lies in the demonstration's picture
    config.train.demo_dropout = 0.05  # share of pairs imitated without a demonstration
    config.train.checkpoint_every = 250  # steps
    config.train.bfloat16 = False  # products of the encoder; on accelerators only

    config.improve = ConfigDict()
    config.improve.rounds = 1
    config.improve.trials = 2000  # per round
    config.improve.commanded_share = 0.5  # of the trials whose scene holds the demonstrated objects
    config.improve.object_sets = 80  # that the other scenes share; 0: each has objects of its own
    config.improve.trial_share = 0.7  # of later rounds' trials that follow an earlier trial
    config.improve.temperature = 0.0  # of the policy's samples; 0 takes the mode
    config.improve.noise = 1.0  # disturbance of the trials, as of the expert
    config.improve.alpha = 0.95  # least cosine of a pair; the paper's is 0.9
    config.improve.cap = 40  # most pairs per trial, nearest first
    config.improve.mutual = False  # both must be among each other's nearest
    config.improve.balance = True  # over the families they resemble: pairs, and trials to follow
    config.improve.rested = True  # only trials that ended by themselves, not by the time limit
    config.improve.batch = 48  # pairs of demonstrations in a batch of retraining
    config.improve.self_share = 0.5  # of the pairs drawn: a trial with itself, seen in two ways
    config.improve.pair_fraction = 0.5  # share of a batch that is pairs of trials, on top of these
    config.improve.steps = 500  # of retraining
    config.improve.learning_rate = 1e-3
    config.improve.warm_start = True
    config.improve.arms = ("mili", "control")  # what a round trains: see mili_jax/arms.py

    config.baselines = ConfigDict()  # trained beside the loop on the demonstrations alone
    config.baselines.methods = ()  # of bc, mil, mil_pose (no actions shown), mil_video (nor poses)
    config.baselines.bc_steps = 2000  # as many as MILI has after a round of `compare`
    config.baselines.mil_steps = 850  # in `compare` somewhat less time than pre-training takes
    config.baselines.mil_tasks = 16  # per meta-batch
    config.baselines.mil_policy_steps = 8  # time steps of a demonstration, and of a query
    config.baselines.mil_learning_rate = 3e-3
    config.baselines.mil_adapted = "actor"  # or all, the encoder too
    config.baselines.mil_inner_steps = 1
    config.baselines.mil_inner_rate = 0.01  # to begin with; every parameter learns its own
    config.baselines.mil_first_order = False
    config.baselines.mil_clip = 10.0  # of each element of an inner gradient

    config.evaluate = ConfigDict()
    config.evaluate.split = "test"
    config.evaluate.tasks = 40
    config.evaluate.episodes = 10  # per task
    config.evaluate.seed = 1000  # of the arrangements: the same for every method and seed
    config.evaluate.conditions = ("right", "wrong", "none")
    config.evaluate.videos = 2  # successes and failures shown per family

    config.machine = ConfigDict()
    config.machine.backend = "local"  # or ray: actors on the cluster of RAY_ADDRESS
    config.machine.processes = 2  # workers that simulate; with 0 it is this process
    config.machine.pairing = "blocks"  # or faiss, where it is installed: the same pairs
    config.machine.shard = 32  # episodes
    config.machine.pool_gb = 1.0  # GB of pictures; training on more streams them from the shards

    if name in ("limited", "compare"):
        config.data.tasks = 16
        config.train.steps = 1200
        config.improve.rounds = 3
        config.improve.trials = 6000
        config.improve.commanded_share = 0.25
        config.improve.steps = 1500
        config.improve.learning_rate = 2e-3
        config.improve.arms = ("mili", "control", "oracle", "pairs_only")
        config.evaluate.conditions = ("right",)
    if name == "compare":
        config.train.steps = 1000
        config.improve.trials = 4000
        config.improve.alpha = 0.97
        config.improve.batch = 12
        config.improve.self_share = 0.75
        config.improve.pair_fraction = 0.75
        config.improve.steps = 1000
        config.improve.learning_rate = 3e-3
        config.baselines.methods = ("bc", "mil", "mil_pose", "mil_video")
        config.improve.arms = ("mili", "control", "more_demos", "oracle")
        config.improve.arms += ("pairs_only", "oracle_only", "random_only")  # as in the paper
        config.improve.arms += ("self_only", "nearest", "unfiltered")  # controls
        config.improve.arms += ("trials_250", "trials_1000", "trials_2000")  # Figure 6
        config.improve.arms += ("alpha_950",)
        config.improve.arms += ("noise_5", "noise_10", "noise_20")
    if name in ("test", "compare_test"):
        config.data.tasks = 16
        config.train.steps = 60
        config.train.batch = 8
        config.train.policy_steps = 4
        config.train.checkpoint_every = 30
        config.improve.trials = 48
        config.improve.batch = 8
        config.improve.steps = 20
        config.improve.alpha = 0.0
        config.improve.rested = False
        config.evaluate.tasks = 8
        config.evaluate.episodes = 2
        config.evaluate.videos = 1
        config.machine.shard = 16
    if name == "compare_test":
        config.improve.rounds = 2
        config.baselines.methods = ("bc", "mil", "mil_video")
        config.baselines.bc_steps = 20
        config.baselines.mil_steps = 6
        config.baselines.mil_tasks = 4
        config.baselines.mil_policy_steps = 2
        config.improve.arms = ("mili", "control", "more_demos", "oracle", "random_only", "nearest")
        config.improve.arms += ("self_only", "trials_24", "mil_pairs", "mil_more")
        config.evaluate.conditions = ("right",)
    if name == "paper":
        config.data.image_size = 100
        config.train.steps = 40_000
        config.train.batch = 64
        config.improve.trials = 60_000
        config.improve.object_sets = 150
        config.improve.batch = 64
        config.improve.steps = 20_000
        config.train.checkpoint_every = 1000
    return config.lock()
