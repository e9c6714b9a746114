"""Densities over the actions of any robot: integrals, modes, samples, bounds, by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import i0, i1, ndtri
from scipy.stats import qmc, vonmises
from specs import CHANGES, JOINTS, POSE, arm, numbers, poses, table, view_of

from mili_jax.policy import angles
from mili_jax.policy.densities import FLOOR, START, Binned, FixedGaussian, Mixture
from mili_jax.policy.embedding import SIZE_SCALE, SIZES, Embedding
from mili_jax.policy.features import SHARES, layout_features
from mili_jax.policy.policy import HEADS
from mili_jax.policy.protocols import Density
from mili_jax.policy.ranges import goes_round, half_ranges, middles, straight, turns, within
from mili_jax.policy.tool_mixture import COLUMNS, TILT_SIGMA, Columns
from mili_jax.spec import Field, Layout, Spec

ABSOLUTE = Spec(JOINTS, JOINTS, 24, 40, arm().cameras)  # of its four numbers one goes round
ROBOTS = {"table": table(), "changes": arm(), "joints": ABSOLUTE}
# The head `path_mixture` has tests of its own (tests/test_path.py).
CASES = [(head, "table") for head in sorted(set(HEADS) - {"path_mixture"})]
CASES += [
    (h, r) for h in ("discretised", "mse", "spatial_softmax_mdn") for r in ("changes", "joints")
]


@functools.cache
def density_of(head: str, robot: str = "table", seed: int = 0, n: int = 3) -> Density:
    """A head's density with noise on all parameters, so that nothing is at its start."""
    rng, spec = np.random.default_rng(seed), ROBOTS[robot]
    module = HEADS[head](spec)
    maps = jnp.asarray(rng.normal(size=(n, 5, 5, 8)), jnp.float32)
    z = rng.normal(size=(n, 6))
    z[:, -SIZES:] *= SIZE_SCALE
    shown = Embedding.of(jnp.asarray(z, jnp.float32))
    pose = jnp.asarray(poses(seed, n) if robot == "table" else numbers(spec.pose, seed, n))
    args = maps, pose, shown, view_of(spec) if robot == "table" else None
    params = jax.jit(module.init)(jax.random.key(seed), *args)
    params = jax.tree.map(
        lambda p: p + jnp.asarray(rng.normal(scale=0.03, size=p.shape), jnp.float32), params
    )
    return jax.jit(module.apply)(params, *args)


def one(density: Density, row: int, count: int) -> Density:
    """One observation's density, so many times."""
    return jax.tree.map(lambda a: jnp.repeat(a[row : row + 1], count, 0), density)


_log_prob = jax.jit(lambda density, action: density.log_prob(action))
_mode = jax.jit(lambda density: density.mode())
_sample = jax.jit(lambda density, key, temperature: density.sample(key, temperature))


def log_prob(density: Density, action: np.ndarray) -> np.ndarray:
    return np.asarray(_log_prob(density, jnp.asarray(action, jnp.float32)), np.float64)


def mode(density: Density) -> np.ndarray:
    return np.asarray(_mode(density), np.float64)


def sample(density: Density, seed: int, temperature: float = 1.0) -> np.ndarray:
    return np.asarray(_sample(density, jax.random.key(seed), temperature), np.float64)


@pytest.mark.parametrize(("head", "robot"), CASES)
def test_density_integrates_to_one(head: str, robot: str) -> None:
    layout, density, points = ROBOTS[robot].action, density_of(head, robot), 2**16
    uniform = qmc.Sobol(len(layout), seed=0).random(points)
    # Of what goes round any period will do. The rest is drawn about where the density is, from
    # something wider; a density over bins is nothing beyond its bounds.
    round_ = dict(turns(layout))
    drawn = sample(one(density, 1, 4000), 0)
    middle, spread = drawn.mean(0), 1.4 * drawn.std(0) + 1e-3
    action, log_q = np.empty_like(uniform), np.zeros(points)
    for i, field in enumerate(layout.fields):
        if i in round_ or head == "discretised":
            low, high = (field.low, field.high) if i not in round_ else (0.3, 0.3 + round_[i])
            action[:, i] = low + uniform[:, i] * (high - low)
            log_q -= math.log(high - low)
        else:
            normal = ndtri(np.clip(uniform[:, i], 1e-6, 1 - 1e-6))
            action[:, i] = middle[i] + spread[i] * normal
            log_q += -0.5 * normal**2 - math.log(spread[i] * math.sqrt(2 * math.pi))
    total = np.exp(log_prob(one(density, 1, points), action) - log_q).mean()
    assert total == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize(("head", "robot"), CASES)
def test_what_goes_round_means_the_same_a_period_further(head: str, robot: str) -> None:
    layout, density = ROBOTS[robot].action, density_of(head, robot)
    action = poses(4, 3) if robot == "table" else numbers(layout, 4, 3)
    for i, period in turns(layout):
        turned = action.copy()
        turned[:, i] += period
        np.testing.assert_allclose(log_prob(density, action), log_prob(density, turned), atol=2e-3)
        turned[:, i] += 0.2 * period
        assert (np.abs(log_prob(density, action) - log_prob(density, turned)) > 1e-4).any()
    assert [i for i, _ in turns(layout)] == {"table": [5], "changes": [], "joints": [0]}[robot]


@pytest.mark.parametrize(("head", "robot"), CASES)
def test_mode_is_valid_and_likelier_than_samples(head: str, robot: str) -> None:
    layout, density = ROBOTS[robot].action, density_of(head, robot)
    best = mode(density)
    assert best.shape == (3, len(layout))
    bounded = [*(i for i, _ in turns(layout)), len(layout) - 1]
    if head != "anchored_mixture":  # whose places nobody bounds
        bounded = list(range(len(layout)))
    for action in (best, sample(density, 0)):
        low, high = layout.low[bounded] - 1e-5, layout.high[bounded] + 1e-5
        assert (action[:, bounded] >= low).all() and (action[:, bounded] <= high).all()
    wide = one(density, 2, 200)
    drawn = log_prob(wide, sample(wide, 1))
    assert log_prob(density, best)[2] > np.quantile(drawn, 0.9)


def test_what_goes_round_and_what_does_not() -> None:
    # The shoulder is an angle, but its bounds leave a gap: it never comes round.
    assert [goes_round(field) for field in JOINTS.fields] == [True, False, False, False]
    assert straight(JOINTS).tolist() == [1, 2, 3] and turns(JOINTS) == [(0, 2 * math.pi)]
    np.testing.assert_allclose(half_ranges(JOINTS), [math.pi, 1.5, 2.0, 0.04], rtol=1e-6)
    np.testing.assert_allclose(middles(JOINTS), [math.pi, 0, 0, 0.04], rtol=1e-6)
    x = jnp.array([[-0.5, 3.0, -3.0, 0.1], [7.0, 0.5, 0.5, 0.05]])
    wanted = [[2 * math.pi - 0.5, 1.5, -2.0, 0.08], [7.0 - 2 * math.pi, 0.5, 0.5, 0.05]]
    np.testing.assert_allclose(within(JOINTS, x), wanted, rtol=1e-5)
    free = Layout((Field("a", "rad", -9.0, 9.0, period=2.0),))  # it may go round several times
    np.testing.assert_allclose(within(free, jnp.array([[3.5]])), [[-0.5]], atol=1e-6)


def test_features_of_any_layout_by_hand() -> None:
    x = jnp.array([[math.pi / 2, 0.75, 40.0, 0.0]])
    found = np.asarray(layout_features(JOINTS, x))[0]
    tiles = lambda share: np.exp(-0.5 * ((share - SHARES) / 0.15) ** 2)  # noqa: E731
    # The elbow is far out of its bounds and counts as twice its range from the middle.
    wanted = [1, 0, 0.5, *tiles(0.5), 2, *tiles(2), -1, *tiles(-1)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    # Whatever the leading axes are.
    many = jnp.broadcast_to(x, (2, 3, 4))
    assert layout_features(JOINTS, many).shape == (2, 3, len(wanted))


@pytest.mark.parametrize("period", [math.pi, 2 * math.pi, 5.0])
def test_an_angle_is_von_mises_whatever_its_period(period: float) -> None:
    # scipy's goes round in 2 pi: as dense there, times what the period is shorter.
    natural = np.array([1.5, -2.0])
    concentration, mean = np.hypot(*natural), np.arctan2(*natural)
    at = np.linspace(-period / 2, period / 2, 9)[:-1].astype(np.float32)
    turn = 2 * math.pi / period
    wanted = vonmises.logpdf(at * turn, concentration, loc=mean) + math.log(turn)
    given = jnp.broadcast_to(jnp.asarray(natural, jnp.float32), (8, 2))
    np.testing.assert_allclose(angles.log_von_mises(at, given, period), wanted, atol=1e-4)
    found = float(angles.mean_angle(jnp.asarray(natural), period))
    assert found == pytest.approx((mean / turn + period / 2) % period - period / 2, abs=1e-5)
    given = jnp.broadcast_to(jnp.asarray(natural, jnp.float32), (20_000, 2))
    drawn = np.asarray(angles.sample_angle(jax.random.key(0), given, period), np.float64)
    assert drawn.min() >= -period / 2 and drawn.max() <= period / 2
    resultant = np.mean(np.exp(1j * turn * drawn))
    wanted = i1(concentration) / i0(concentration) * np.exp(1j * mean)
    assert abs(resultant - wanted) < 0.02


def test_mixture_of_changes_by_hand() -> None:
    # One component at half of every range, as wide as the start; the log density is that of four
    # normal distributions.
    raw = jnp.zeros((1, 1, Mixture.outputs(CHANGES))).at[0, 0, 1:5].set(0.5)
    density = Mixture.of(raw, CHANGES)
    mean = np.array([0.15, 0.1, 0.1, 0.06])
    sigma = START * np.array([0.3, 0.2, 0.2, 0.04])
    np.testing.assert_allclose(mode(density)[0], mean, atol=1e-6)
    action = mean + np.array([1.0, -0.5, 0.0, 2.0]) * sigma
    wanted = -0.5 * (1 + 0.25 + 4) - np.log(sigma).sum() - 2 * math.log(2 * math.pi)
    assert log_prob(density, action[None])[0] == pytest.approx(wanted, abs=1e-4)
    drawn = sample(one(density, 0, 20_000), 0, 0.25)
    inside = [1, 2]  # the others meet their bounds
    np.testing.assert_allclose(drawn[:, inside].mean(0), mean[inside], atol=1e-3)
    np.testing.assert_allclose(drawn[:, inside].std(0), sigma[inside] / 2, rtol=0.05)
    # However negative the outputs, no narrower than the floor.
    sharp = Mixture.of(jnp.full_like(raw, -100.0), CHANGES)
    np.testing.assert_allclose(sharp.sigma, FLOOR, rtol=1e-5)


def test_mixture_with_an_angle_is_sampled_as_it_is_dense() -> None:
    # Two components, of weights 3 and 1; the first one's turn is 0.4 of a circle with concentration
    # 10, the other's may be any.
    raw = np.zeros((1, 2, Mixture.outputs(JOINTS)), np.float32)
    raw[0, :, 0] = [math.log(3), 0.0]
    raw[0, :, 1:4] = [[0.5, 0.5, 0.0], [-0.5, 0.0, 0.0]]
    angle = 0.4 * 2 * math.pi
    raw[0, 0, 7:9] = 2 * math.sin(angle), 2 * math.cos(angle)
    many = one(Mixture.of(jnp.asarray(raw), JOINTS), 0, 20_000)
    drawn = sample(many, 0)
    # Mean resultant length of a von Mises distribution: I1(k) / I0(k); of the second none.
    resultant = np.mean(np.exp(1j * drawn[:, 0]))
    assert abs(resultant) == pytest.approx(0.75 * 0.9486, abs=0.02)
    assert np.angle(resultant) == pytest.approx(angle, abs=0.02)
    assert drawn[:, 0].min() >= 0 and drawn[:, 0].max() <= 2 * math.pi
    assert drawn[:, 1].mean() == pytest.approx(0.75 * 0.75 - 0.25 * 0.75, abs=0.02)
    np.testing.assert_allclose(mode(many)[0], [angle, 0.75, 1.0, 0.04], atol=1e-3)


def test_a_mixture_of_angles_alone_has_a_mode() -> None:
    layout = Layout((Field("a", "rad", -1.0, 1.0, period=2.0),))
    density = Mixture.of(jnp.array([[[0.0, 1.0, 0.0]]]), layout)
    np.testing.assert_allclose(mode(density), [[0.5]], atol=1e-5)
    assert sample(density, 0).shape == (1, 1)


def test_squared_error_head_is_a_squared_error() -> None:
    density, action = density_of("mse"), poses(5, 3)
    difference = np.asarray(action - density.mean, np.float64)
    difference[:, 5] = np.mod(difference[:, 5] + math.pi / 2, math.pi) - math.pi / 2
    half = 0.5 * np.square(difference / np.array(density.sigma)).sum(-1)
    constant = log_prob(density, action) + half
    np.testing.assert_allclose(constant, constant[0], atol=1e-3)
    # A fifth of half of every range, which of the yaw is half of its period.
    wanted = 0.2 * np.array([0.25, 0.25, 0.175, 0.5, 0.5, math.pi / 2, 0.5])
    np.testing.assert_allclose(density.sigma, wanted, rtol=1e-6)
    fixed = FixedGaussian(jnp.array([[3.0, 9.0, 0.0, 0.0]]), (0.1,) * 4, JOINTS)
    np.testing.assert_allclose(mode(fixed), [[3.0, 1.5, 0.0, 0.0]], atol=1e-6)


def test_bins_hand_worked() -> None:
    layout = Layout(
        (
            *(Field(name, "m", 0.0, 4.0) for name in "xyzab"),
            Field("yaw", "rad", -math.pi / 2, math.pi / 2, period=math.pi),
            Field("finger", "1", 0.0, 1.0),
        )
    )
    logit = jnp.zeros((1, 7, 4)).at[0, 0, 3].set(math.log(3))  # x: 1/6, 1/6, 1/6, 1/2
    density = Binned(logit, layout)
    action = jnp.array([[3.5, 0, 0, 0, 0, 0, 0]])
    expected = math.log(1 / 2) + 4 * math.log(1 / 4) + math.log(1 / math.pi) + math.log(1)
    assert float(density.log_prob(action)[0]) == pytest.approx(expected, abs=1e-5)
    assert float(density.mode()[0, 0]) == 3.5
    # What lies beyond the bounds falls into the outermost bin.
    assert float(density.log_prob(action + 9)[0]) == pytest.approx(
        float(density.log_prob(jnp.full((1, 7), 3.99).at[0, 5].set(9.0 - 3 * math.pi))[0]), abs=1e-5
    )


# Of a tool.


def tool_mixture(raw: np.ndarray, xy: list, tilt: list):
    return Columns.of(jnp.asarray(raw)).mixture(jnp.asarray(xy, jnp.float32), jnp.asarray(tilt))


def test_sharp_mixture_integrates_to_one_over_place_and_yaw() -> None:
    # Two narrow components of equal height and finger: what remains at their height and finger is
    # the product of the other normal densities at their means.
    raw = np.zeros((1, 2, COLUMNS), np.float32)
    raw[0, :, 0] = [0.0, 1.0]
    raw[0, 0, 4:6] = [6.0, -3.0]
    raw[0, 1, 4:6] = [0.0, 0.4]
    raw[0, :, 7] = [-30.0, -1.0]
    density = tool_mixture(raw, [[[0.05, 0.0], [0.0, 0.02]]], [[0.0, 0.0]])
    grid = np.linspace(-0.12, 0.12, 61)
    yaw = np.arange(64) / 64 * math.pi
    x, y, t = (a.ravel() for a in np.meshgrid(grid, grid, yaw, indexing="ij"))
    action = np.zeros((x.size, 7), np.float32)
    action[:, 0], action[:, 1], action[:, 5] = x, y, t
    action[:, 2], action[:, 6] = 0.1, 0.5
    total = np.exp(log_prob(one(density, 0, x.size), action)).sum() * 0.004**2 * math.pi / 64
    z_sigma, finger_sigma = float(density.z_sigma[0, 0]), float(density.finger_sigma[0, 0])
    rest = 1 / (math.sqrt(2 * math.pi) ** 4 * z_sigma * finger_sigma * TILT_SIGMA**2)
    assert total == pytest.approx(rest, rel=1e-3)


def test_mode_prefers_agreement_to_one_heavy_component() -> None:
    # Five components agree on x = 0.1; one slightly heavier stands alone at x = -0.1.
    raw = np.zeros((1, 6, COLUMNS), np.float32)
    raw[0, 0, 0] = 0.3
    raw[0, 1:, 4:6] = [0.0, -1.0]  # twice the yaw is pi
    density = tool_mixture(raw, [[[-0.1, 0.0]] + [[0.1, 0.05]] * 5], [[0.01, 0.02]])
    expected = [0.1, 0.05, 0.1, 0.01, 0.02, -math.pi / 2, 0.5]
    np.testing.assert_allclose(mode(density)[0], expected, atol=1e-4)
    # So does the mixture for any robot.
    raw = np.zeros((1, 6, Mixture.outputs(POSE)), np.float32)
    raw[0, 0, 0], raw[0, 0, 1], raw[0, 1:, 1] = 0.3, -0.4, 0.4
    assert mode(Mixture.of(jnp.asarray(raw), POSE))[0, 0] == pytest.approx(0.1)


def test_samples_follow_the_density() -> None:
    raw = np.zeros((1, 2, COLUMNS), np.float32)
    raw[0, :, 0] = [math.log(3), 0.0]
    raw[0, 0, 4:6] = [2.0, 0.0]  # concentration 10 about yaw pi/4
    density = tool_mixture(raw, [[[0.2, 0.0], [-0.2, 0.0]]], [[0.1, -0.1]])
    many = one(density, 0, 20_000)
    drawn = sample(many, 0)
    left = drawn[:, 0] < 0
    assert left.mean() == pytest.approx(0.25, abs=0.015)
    assert drawn[~left, 1].std() == pytest.approx(0.03, rel=0.05)
    assert drawn[:, 3].mean() == pytest.approx(0.1, abs=0.003)
    assert drawn[:, 3].std() == pytest.approx(TILT_SIGMA, rel=0.05)
    # Mean resultant length of a von Mises distribution: I1(k) / I0(k).
    length = np.mean(np.exp(2j * drawn[~left, 5]))
    assert abs(length) == pytest.approx(0.9486, abs=0.01)
    assert np.angle(length) / 2 == pytest.approx(math.pi / 4, abs=0.01)
    assert (np.abs(drawn[left, 5]) <= math.pi / 2).all() and abs(drawn[left, 5].mean()) < 0.05
    cold = sample(many, 0, 0.25)
    assert cold[cold[:, 0] > 0, 1].std() == pytest.approx(0.015, rel=0.05)


def test_gradients_are_finite_at_extremes() -> None:
    def of_tool(raw: jax.Array, action: jax.Array) -> jax.Array:
        columns = Columns.of(raw)
        density = columns.mixture(0.08 * jnp.tanh(columns.offset), jnp.zeros((1, 2)))
        return -density.log_prob(action).sum()

    def of_joints(raw: jax.Array, action: jax.Array) -> jax.Array:
        return -Mixture.of(raw, JOINTS).log_prob(action[:, :4]).sum()

    for value in (0.0, 30.0, -30.0):
        action = jnp.array([[0.3, -0.3, 0.4, 1, 1, 1, 1.0]])
        for nll, outputs in ((of_tool, COLUMNS), (of_joints, Mixture.outputs(JOINTS))):
            raw = jnp.full((1, 3, outputs), value)
            assert np.isfinite(jax.jit(jax.grad(nll))(raw, action)).all()
