"""MAML against hand-worked numbers, finite differences and its sinusoids; MIL on pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from specs import arm
from squares import SPEC, squares
from test_policy import Own, OwnFocus, batch_of

from mili_jax.learning import maml
from mili_jax.learning.adapting import make_act
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import (
    SUPPORTS,
    MilHyper,
    Shown,
    check,
    improvement,
    init,
    init_state,
    loss_fn,
    make_train_step,
)
from mili_jax.policy.policy import Policy
from mili_jax.types import ConfigError, DataError

POLICY = Policy(SPEC, embedding_size=8, channels=16, blocks=1)


def quadratic(theta, data):
    """Half the square of theta minus data: its gradient is theta - data."""
    return 0.5 * jnp.sum(jnp.square(theta["w"] - data))


def test_one_and_two_inner_steps_by_hand():
    theta, rates = {"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([0.5, 0.1])}
    support = jnp.array([0.0, 1.0])
    once = maml.adapt(quadratic, theta, support, rates)["w"]
    np.testing.assert_allclose(once, [2 - 0.5 * 2, -1 - 0.1 * -2], rtol=1e-6)
    twice = maml.adapt(quadratic, theta, support, rates, 2)["w"]
    np.testing.assert_allclose(twice, [0.5, -0.8 - 0.1 * -1.8], rtol=1e-6)
    bounded = maml.adapt(quadratic, theta, support, rates, clip=1.5)["w"]
    np.testing.assert_allclose(bounded, [2 - 0.5 * 1.5, -1 + 0.1 * 1.5], rtol=1e-6)


@pytest.mark.parametrize("jit", [True, False])
def test_the_meta_gradient_of_a_quadratic_by_hand(jit):
    # theta' - q = (1 - r)(theta - s) + s - q, so the gradient is (1 - r)(theta' - q); to first
    # order it is theta' - q.
    theta, rate = {"w": jnp.array([2.0])}, {"w": jnp.array([0.3])}
    support, query = jnp.array([[1.0], [0.0]]), jnp.array([[3.0], [-1.0]])

    def gradient(**options):
        def loss(t):
            return maml.meta_loss(quadratic, quadratic, t, support, query, rate, **options)

        f = jax.grad(loss, has_aux=True)
        return (jax.jit(f) if jit else f)(theta)

    adapted = 2 - 0.3 * (2 - np.array([1.0, 0.0]))
    error = adapted - np.array([3.0, -1.0])
    second, metrics = gradient()
    np.testing.assert_allclose(second["w"], [np.mean(0.7 * error)], rtol=1e-6)
    np.testing.assert_allclose(gradient(first_order=True)[0]["w"], [error.mean()], rtol=1e-6)
    before = 0.5 * (2 - np.array([3.0, -1.0])) ** 2
    assert metrics["before"] == pytest.approx(before.mean())
    assert metrics["after"] == pytest.approx(np.mean(0.5 * error**2))
    assert metrics["improved"] == 0.5  # the second task gets nearer, the first one goes away
    through_rate = jax.grad(
        lambda r: maml.meta_loss(quadratic, quadratic, theta, support, query, r)[0]
    )(rate)
    expected = np.mean(-(2 - np.array([1.0, 0.0])) * error)
    np.testing.assert_allclose(through_rate["w"], [expected], rtol=1e-6)


def mlp(theta, x):
    for i in range(3):
        x = x @ theta[f"w{i}"] + theta[f"b{i}"]
        x = jax.nn.relu(x) if i < 2 else x
    return x


def mlp_init(key, width=40):
    sizes, theta = (1, width, width, 1), {}
    for i, k in enumerate(jax.random.split(key, 3)):
        theta[f"w{i}"] = jax.random.normal(k, sizes[i : i + 2]) * np.sqrt(2 / sizes[i])
        theta[f"b{i}"] = jnp.zeros(sizes[i + 1])
    return theta


def squared(theta, data):
    x, y = data
    return jnp.mean(jnp.square(mlp(theta, x) - y))


def smooth(theta, data):
    """A small network without kinks, so that finite differences mean something."""
    x, y = data
    return jnp.mean(jnp.square(jnp.tanh(x @ theta["w0"] + theta["b0"]) @ theta["w1"] - y))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_the_meta_gradient_against_central_differences_in_float64(steps, first_order):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        draw = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
        theta = {"w0": draw(2, 5), "b0": draw(5), "w1": draw(5, 1)}
        assert theta["w0"].dtype == jnp.float64
        rates = jax.tree.map(lambda p: 0.05 + 0.1 * jnp.asarray(rng.random(p.shape)), theta)
        support, query = [(draw(4, 6, 2), draw(4, 6, 1)) for _ in range(2)]

        def meta(theta, rates):
            options = {"steps": steps, "first_order": first_order}
            return maml.meta_loss(smooth, smooth, theta, support, query, rates, **options)[0]

        flat, unravel = jax.flatten_util.ravel_pytree((theta, rates))
        f = jax.jit(lambda v: meta(*unravel(v)))
        gradient = jax.grad(f)(flat)
        eye, step = jnp.eye(len(flat)), 1e-5
        numeric = jax.vmap(lambda e: (f(flat + step * e) - f(flat - step * e)) / (2 * step))(eye)
        of_theta = sum(p.size for p in jax.tree.leaves(theta))
        error = jnp.abs(gradient - numeric) / jnp.abs(numeric).max()
        assert error[of_theta:].max() < 1e-4 if steps == 1 else True  # of the rates
        if first_order:  # which leaves the curvature out
            assert error[:of_theta].max() > 1e-2
        else:
            assert error.max() < 1e-4


def sinusoids(key, tasks, shots):
    """Amplitude U[0.1,5], phase U[0,pi], inputs U[-5,5]: x and y, [tasks, shots, 1]."""
    a, p, i = jax.random.split(key, 3)
    amplitude = jax.random.uniform(a, (tasks, 1, 1), minval=0.1, maxval=5.0)
    phase = jax.random.uniform(p, (tasks, 1, 1), maxval=jnp.pi)
    x = jax.random.uniform(i, (tasks, shots, 1), minval=-5.0, maxval=5.0)
    return x, amplitude * jnp.sin(x - phase)


@pytest.mark.slow
@pytest.mark.parametrize(("shots", "bar"), [(10, 0.8), (5, 1.2)])
def test_sinusoid_regression(shots, bar):
    # Finn et al. (2017a), section 5.1: 40-40 ReLU, one inner step at 0.01 in training, 600 tasks.
    rate, tasks = 0.01, 25
    theta = mlp_init(jax.random.key(0))
    rates = jax.tree.map(lambda p: jnp.full(p.shape, rate), theta)
    optimizer = optax.adam(1e-3)

    def split(data):
        return jax.tree.map(lambda a: a[:, :shots], data), jax.tree.map(
            lambda a: a[:, shots:], data
        )

    def update(carry, key):
        theta, state = carry
        support, query = split(sinusoids(key, tasks, 2 * shots))
        loss = lambda t: maml.meta_loss(squared, squared, t, support, query, rates)[0]  # noqa: E731
        updates, state = optimizer.update(jax.grad(loss)(theta), state)
        return (optax.apply_updates(theta, updates), state), None

    # Many steps of little: worth the compiler's pains, unlike what other tests run.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    def train(theta, key):
        keys = jax.random.split(key, 20_000)
        return jax.lax.scan(update, (theta, optimizer.init(theta)), keys)[0][0]

    theta = train(theta, jax.random.key(1))
    data = sinusoids(jax.random.key(2), 600, shots + 100)
    support, query = split(data)
    half = jax.tree.map(lambda r: r / 2, rates)

    @jax.jit
    def errors_of(support, query):
        """Before, after one step at the rate of training, and after nine more at half of it (as
        the paper does in reinforcement learning: its appendix A.2)."""
        errors, adapted, rate = [squared(theta, query)], theta, rates
        for _ in range(10):
            adapted, rate = maml.adapt(squared, adapted, support, rate), half
            errors.append(squared(adapted, query))
        return jnp.stack(errors)

    errors = np.asarray(jax.vmap(errors_of)(support, query).mean(0))
    print(shots, "shots, test error after 0..10 steps:", np.round(errors, 3))
    assert errors[1] <= bar and errors[0] > 2
    assert (np.diff(errors) <= 0).all()


# On the policy.


def meta_batch(seed, tasks=8, p=4):
    """`squares` as `sampling.sample_tasks` gives it: row i and row tasks + i are of one colour."""
    first = squares(2 * seed, tasks, p)
    second = squares(2 * seed + 1, tasks, p, task=first.task)
    return jax.tree.map(lambda *two: np.concatenate(two), first, second)


def train(mil, policy=POLICY, steps=150, tasks=12, **hyper):
    hyper = Hyper(
        **{"steps": steps, "learning_rate": 3e-3, "warmup": 10, "shift": 1, "colours": 2, **hyper}
    )
    state = init_state(policy, hyper, mil, 0)
    state = jax.device_put(state, jax.devices()[0])
    step = make_train_step(policy, hyper, mil)
    for i in range(steps):
        state, metrics = step(state, meta_batch(i, tasks), 0)
    assert step._cache_size() == 1
    return state, metrics, hyper


def shown(batch, rows):
    fields = (batch.image, batch.pose, batch.action, batch.focus, batch.focus_seen)
    return Shown(*(a[rows] for a in fields))


@pytest.fixture(scope="module")
def learned():
    mil = MilHyper()
    return mil, *train(mil)


@pytest.mark.slow
def test_it_learns_to_learn_from_one_demonstration(learned):
    mil, state, _, hyper = learned
    batch = meta_batch(1000, 40)
    support, query = shown(batch, slice(40, None)), shown(batch, slice(40))
    everything, rows = shown(batch, slice(None)), np.arange(40)
    measure = functools.partial(improvement, POLICY, hyper, mil, state.average, everything)
    before, after = measure(rows + 40, rows)
    with pytest.raises(DataError, match="task 0: episode 0 is support and query"):
        measure(rows, rows)
    assert np.mean(after < before) > 0.9
    act = make_act(POLICY, hyper, mil)
    errors = {}
    for name, seen in (("right", np.ones(40, bool)), ("none", np.zeros(40, bool))):
        action = act(state.average, support, seen)(query.image[:, 0], query.pose[:, 0])
        assert action.shape == (40, 7)
        errors[name] = np.linalg.norm(action[:, :2] - query.action[:, 0, :2], axis=1)
    assert np.median(errors["right"]) < 0.05 < np.median(errors["none"])


def small(mil, policy=POLICY):
    hyper = Hyper(steps=3, colours=2, warmup=1)
    params = init(policy, mil, jax.random.key(0))
    return hyper, params, meta_batch(0, 4, 2)


@pytest.mark.parametrize("support", SUPPORTS)
def test_what_is_not_shown_does_not_matter(support):
    mil = MilHyper(support=support)
    hyper, params, batch = small(mil)
    act = make_act(POLICY, hyper, mil, temperature=1.0)  # a mode may stay as it is
    rows = slice(4, None)

    def action(changed):
        given = shown(batch, rows)._replace(**changed)
        return np.asarray(
            act(params, given, np.ones(4, bool))(batch.image[:4, 0], batch.pose[:4, 0])
        )

    base = action({})
    other = {"action": batch.action[rows] + 0.1}
    assert (action(other) == base).all() == (support != "video_pose_action")
    other |= {"pose": batch.pose[rows] + 0.1, "focus": batch.focus[rows] + 0.1}
    assert (action(other) == base).all() == (support == "video")
    assert (action({"image": batch.image[rows] // 2}) != base).any()


@pytest.mark.slow
@pytest.mark.parametrize(("support", "adapted"), [("video_pose", "actor"), ("video", "all")])
def test_the_meta_gradient_reaches_everything(support, adapted):
    mil = MilHyper(support=support, adapted=adapted)
    hyper, params, batch = small(mil)
    gradient = jax.jit(jax.grad(lambda p: loss_fn(POLICY, hyper, mil, p, batch)[0]))(params)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
    names = {"bias", "rates", "policy", "loss"}
    assert set(params) == names
    for name in names - {"policy"}:
        assert any(bool((g != 0).any()) for g in jax.tree.leaves(gradient[name])), name
    for part in ("encoder", "actor"):
        assert any(bool((g != 0).any()) for g in jax.tree.leaves(gradient["policy"][part])), part
    assert ("encoder" in params["rates"]) == (adapted == "all")


@pytest.mark.parametrize("head", ["mse", pytest.param("discretised", marks=pytest.mark.long)])
def test_squared_errors_and_cross_entropy_as_inner_losses(head):
    policy = POLICY.clone(head=head)
    mil = MilHyper(inner_rate=1e-3)
    hyper, params, batch = small(mil, policy)
    loss, metrics = loss_fn(policy, hyper, mil, params, batch)
    # Before adapting the outer loss is the policy's own negative log-likelihood (of a Gaussian of
    # fixed width: a squared error; of bins: a cross-entropy).
    steps = shown(batch, slice(4))
    flat = lambda a: jnp.asarray(a).reshape(-1, *a.shape[2:])  # noqa: E731
    z = jnp.tile(params["bias"], (8, 1))
    variables = {"params": params["policy"]}
    density = policy.apply(variables, flat(steps.image), flat(steps.pose), z, method="act")
    nll = -density.log_prob(flat(steps.action)).mean()
    assert metrics["before"] == pytest.approx(float(nll), rel=1e-5)
    assert float(loss) == metrics["after"] != metrics["before"]
    with pytest.raises(ConfigError, match="cannot adapt to 'video'"):
        init(policy, MilHyper(support="video"), jax.random.key(0))


@pytest.mark.parametrize("adapted", ["actor", "all"])
def test_an_arm_without_a_table_learns_to_learn(adapted):
    """Its batch is noise, to be learned by heart: query and support are one."""
    policy = Policy(arm(), "images_only", "spatial_softmax_mdn", 8, channels=8, blocks=1)
    mil = MilHyper(inner_rate=0.02, adapted=adapted)
    hyper = Hyper(steps=12, colours=0, warmup=0, learning_rate=3e-3, brightness=0, contrast=0)
    first = batch_of(policy.spec, 4, 3)
    batch = jax.tree.map(lambda a: np.concatenate([a, a]), first)
    state, step = init_state(policy, hyper, mil, 0), make_train_step(policy, hyper, mil)
    for _ in range(12):
        state, metrics = step(state, batch, 0)
    assert metrics["improved"] == 1 and metrics["after"] < metrics["before"]
    act = make_act(policy, hyper, mil)
    support = shown(first, slice(None))
    start = act(state.average, support, np.array([True, True, False, False]))
    action = start(first.image[:, 0], first.pose[:, 0])
    unadapted = act(state.average, support, np.zeros(4, bool))(first.image[:, 0], first.pose[:, 0])
    assert action.shape == (4, 4)
    assert np.abs(action - unadapted)[:2].max() > 1e-4
    np.testing.assert_allclose(action[2:], unadapted[2:], atol=1e-5)


def test_a_learned_loss_needs_a_head_that_looks_at_places():
    for head in ("test_policy:Own", "mse"):
        with pytest.raises(ConfigError, match="cannot adapt to 'video_pose'"):
            check(head, "video_pose")
        check(head, "video_pose_action")
    check("test_policy:OwnFocus", "video")  # somebody's own that does
    assert issubclass(OwnFocus, Own)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("support", "words"),
        ("adapted", "none"),
        ("inner_steps", 0),
        ("inner_rate", 0),
        ("clip", -1),
    ],
)
def test_bad_hyper_parameters_are_named(field, value):
    with pytest.raises(ConfigError, match=rf"MilHyper\.{field}"):
        MilHyper(**{field: value})
