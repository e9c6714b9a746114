"""Networks: geometry, convolution against the compiler's own, densities against integrals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mili_jax.policy.camera import Camera
from scipy.stats import qmc

from mili_jax.policy import encoder, kernels
from mili_jax.policy.densities import RAW, TILT_SIGMA, Binned, Density, Mixture, mixture_of
from mili_jax.policy.embeddings.images_only_predicted import ImagesOnlyPredicted
from mili_jax.policy.embeddings.pose_anchored import SIZE_SCALE, SIZES
from mili_jax.policy.encoder import Encoder
from mili_jax.policy.features import UNIT
from mili_jax.policy.focus import CLOSE
from mili_jax.policy.heads.anchored_mixture import BESIDE, LIFTED_Z, REACH, AnchoredMixture
from mili_jax.policy.kernels import bilinear_weights, conv3x3, spatial_softmax
from mili_jax.policy.policy import EMBEDDINGS, HEADS, Policy, init_params
from mili_jax.types import ConfigError

CAMERA = Camera(view=0.25, height=1.0)


def poses(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = np.array([-0.2, -0.2, 0.0, -0.1, -0.1, -1.5, 0.0])
    high = np.array([0.2, 0.2, 0.2, 0.1, 0.1, 1.5, 1.0])
    return rng.uniform(low, high, (*shape, 7)).astype(np.float32)


def pictures(seed: int, *shape: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, size, size, 3)).astype(np.uint8)


def density_of(head: str, seed: int = 0, n: int = 3) -> Density:
    """A head's density with noise on all parameters, so that nothing is at its start."""
    rng = np.random.default_rng(seed)
    module = HEADS[head](CAMERA)
    maps = jnp.asarray(rng.normal(size=(n, 5, 5, 8)), jnp.float32)
    z = rng.normal(size=(n, 6))
    z[:, -SIZES:] *= SIZE_SCALE
    z = jnp.asarray(z, jnp.float32)
    pose = jnp.asarray(poses(seed, n))
    params = jax.jit(module.init)(jax.random.key(seed), maps, pose, z)
    params = jax.tree.map(
        lambda p: p + jnp.asarray(rng.normal(scale=0.03, size=p.shape), jnp.float32), params
    )
    return jax.jit(module.apply)(params, maps, pose, z)


def one(density: Density, row: int, count: int) -> Density:
    return jax.tree.map(lambda a: jnp.repeat(a[row : row + 1], count, 0), density)


def test_projection_hand_worked() -> None:
    # At half the camera's height everything looks twice as far from the middle.
    points = np.array([[0.25, -0.25, 0.0], [0.1, 0.05, 0.0], [0.1, 0.05, 0.5]])
    np.testing.assert_allclose(CAMERA.project(points), [[1, -1], [0.4, 0.2], [0.8, 0.4]])
    cells = CAMERA.cells(2, 4)
    np.testing.assert_allclose(cells[0], [-0.1875, 0.125], atol=1e-7)
    np.testing.assert_allclose(cells[-1], [0.1875, -0.125], atol=1e-7)
    for bad in ({"view": 0.0}, {"height": -1.0}, {"view": math.nan}):
        with pytest.raises(ConfigError):
            Camera(**bad)


def test_sampling_at_a_cell_is_the_cell_and_is_linear_between() -> None:
    h, w = 4, 6
    places = CAMERA.cells(h, w) / CAMERA.view
    weights = np.asarray(bilinear_weights(jnp.asarray(places), h, w, offsets=False))[:, 0]
    np.testing.assert_allclose(weights, np.eye(h * w), atol=1e-5)
    between = 0.75 * places[8] + 0.25 * places[9]
    weights = np.asarray(bilinear_weights(jnp.asarray(between), h, w, offsets=False))[0]
    np.testing.assert_allclose(weights[[8, 9]], [0.75, 0.25], atol=1e-5)
    # The neighbourhood runs row by row around cell 8 = (1, 2).
    weights = bilinear_weights(jnp.asarray(places[8]), h, w, offsets=True)
    assert weights.argmax(-1).tolist() == [1, 2, 3, 7, 8, 9, 13, 14, 15]
    outside = bilinear_weights(jnp.array([5.0, 5.0]), h, w, offsets=True)
    np.testing.assert_allclose(outside.sum(-1), np.ones(9), atol=1e-5)
    assert int(outside[4].argmax()) == w - 1  # the upper right cell


def test_spatial_softmax_finds_the_bright_cell() -> None:
    logits = np.zeros((1, 4, 4, 2), np.float32)
    logits[0, 0, 3, 0] = 50.0
    logits[0, 2, 1, 1] = 50.0
    found = spatial_softmax(jnp.asarray(logits))[0]
    np.testing.assert_allclose(found, [[0.75, 0.75], [-0.25, -0.25]], atol=1e-5)


def test_conv_gradients_are_the_compilers() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 5, 7, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 6)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(3, 5, 7, 6)), jnp.float32)

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ours, expected = jax.vjp(conv3x3, x, kernel), jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(ours[0], expected[0], atol=1e-5)
    for a, b in zip(ours[1](g), expected[1](g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("size", [32, 100])
def test_stem_is_an_8x8_convolution_of_stride_4(size: int) -> None:
    image = pictures(0, 2, size=size)
    encoder = Encoder(channels=6, blocks=0)
    params = encoder.init(jax.random.key(0), image)
    kernel = params["params"]["stem"].reshape(2, 2, 4, 4, 3, 6).swapaxes(1, 2)
    scaled = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge") * (4 / 255) - 2
    expected = jax.lax.conv_general_dilated(
        jnp.asarray(scaled, jnp.float32),
        kernel.reshape(8, 8, 3, 6),
        (4, 4),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    maps = encoder.apply(params, image)
    assert maps.shape == (2, size // 4, size // 4, 6)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pictures(1, 7)
    encoder = Encoder(channels=8)
    params = encoder.init(jax.random.key(0), image)

    def loss(params: dict) -> jax.Array:
        return jnp.mean(jnp.square(encoder.apply(params, image)[..., :3]))

    whole = jax.value_and_grad(loss)(params)
    monkeypatch.setattr(kernels, "CHUNK", 3 * 64)  # 3 + 3 + 1 images
    parts = jax.value_and_grad(loss)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole, parts)


def test_encoder_refuses_a_size_that_is_no_multiple_of_its_cells() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        Encoder().init(jax.random.key(0), pictures(0, 1, size=30))


@pytest.mark.parametrize("head", sorted(HEADS))
def test_density_integrates_to_one(head: str) -> None:
    density = density_of(head)
    if head == "discretised":
        low = np.array([-0.25, -0.25, 0.0, -0.5, -0.5, 0.3, 0.0])
        high = np.array([0.25, 0.25, 0.35, 0.5, 0.5, 0.3 + math.pi, 1.0])
    else:
        # Where its samples lie and a little further; any period of the yaw will do.
        drawn = np.asarray(one(density, 1, 4000).sample(jax.random.key(0), 1.0), np.float64)
        low, high = drawn.min(0) - 0.03, drawn.max(0) + 0.03
        low[3:], high[3:] = [0.0, 0.0, 0.3, -2.0], [0.0, 0.0, 0.3 + math.pi, 3.0]
    points = 2**17
    action = low + qmc.Sobol(7, seed=0).random(points) * (high - low)
    volume = np.prod((high - low)[high > low])
    if head != "discretised":
        # Roll and pitch are independent of the rest and normal, with sigma 0.05 in all these heads:
        # integrated in closed form.
        action[:, 3:5] = density.mode()[1, 3:5]
        volume *= 2 * math.pi * 0.05**2
    log_prob = jax.jit(lambda d, a: d.log_prob(a))(one(density, 1, points), jnp.asarray(action))
    total = float(np.mean(np.exp(np.asarray(log_prob, np.float64))) * volume)
    assert total == pytest.approx(1.0, abs=0.04)


def test_sharp_mixture_integrates_to_one_over_place_and_yaw() -> None:
    # Two narrow components of equal height and finger: what remains at their height and finger is
    # the product of the other normal densities at their means.
    raw = np.zeros((1, 2, RAW), np.float32)
    raw[0, :, 0] = [0.0, 1.0]
    raw[0, 0, 4:6] = [6.0, -3.0]
    raw[0, 1, 4:6] = [0.0, 0.4]
    raw[0, :, 7] = [-30.0, -1.0]
    density = mixture_of(
        jnp.asarray(raw), jnp.array([[[0.05, 0.0], [0.0, 0.02]]]), jnp.zeros((1, 2))
    )
    grid = np.linspace(-0.12, 0.12, 61)
    yaw = np.arange(64) / 64 * math.pi
    x, y, t = (a.ravel() for a in np.meshgrid(grid, grid, yaw, indexing="ij"))
    action = np.zeros((x.size, 7), np.float32)
    action[:, 0], action[:, 1], action[:, 5] = x, y, t
    action[:, 2], action[:, 6] = 0.1, 0.5
    log_prob = one(density, 0, x.size).log_prob(jnp.asarray(action))
    total = np.exp(np.asarray(log_prob, np.float64)).sum() * 0.004**2 * math.pi / 64
    z_sigma, finger_sigma = float(density.z_sigma[0, 0]), float(density.finger_sigma[0, 0])
    rest = 1 / (math.sqrt(2 * math.pi) ** 4 * z_sigma * finger_sigma * TILT_SIGMA**2)
    assert total == pytest.approx(rest, rel=1e-3)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_yaw_has_period_pi(head: str) -> None:
    density, action = density_of(head), poses(4, 3)
    turned = action.copy()
    turned[:, 5] += math.pi
    np.testing.assert_allclose(density.log_prob(action), density.log_prob(turned), atol=1e-3)
    turned[:, 5] += 0.5
    assert (np.abs(density.log_prob(action) - density.log_prob(turned)) > 1e-4).any()


@pytest.mark.parametrize("head", sorted(HEADS))
def test_mode_is_valid_and_likelier_than_samples(head: str) -> None:
    density = density_of(head)
    mode = jax.jit(lambda d: d.mode())(density)
    assert mode.shape == (3, 7)
    draw = jax.jit(lambda d, key: d.sample(key, 1.0))
    samples = draw(density, jax.random.key(0))
    for action in (mode, samples):
        assert (action[:, 5] >= -math.pi / 2 - 1e-6).all() and (
            action[:, 5] < math.pi / 2 + 1e-6
        ).all()
        assert (action[:, 6] >= 0).all() and (action[:, 6] <= 1).all()
    wide = one(density, 2, 200)
    drawn = wide.log_prob(draw(wide, jax.random.key(1)))
    assert float(density.log_prob(mode)[2]) > float(np.quantile(drawn, 0.9))


def test_mode_prefers_agreement_to_one_heavy_component() -> None:
    # Five components agree on x = 0.1; one slightly heavier stands alone at x = -0.1.
    raw = np.zeros((1, 6, RAW), np.float32)
    raw[0, 0, 0] = 0.3
    raw[0, 1:, 4:6] = [0.0, -1.0]  # twice the yaw is pi
    xy = np.array([[[-0.1, 0.0]] + [[0.1, 0.05]] * 5], np.float32)
    density = mixture_of(jnp.asarray(raw), jnp.asarray(xy), jnp.array([[0.01, 0.02]]))
    expected = [0.1, 0.05, 0.1, 0.01, 0.02, -math.pi / 2, 0.5]
    np.testing.assert_allclose(density.mode()[0], expected, atol=1e-4)


def test_samples_follow_the_density() -> None:
    raw = np.zeros((1, 2, RAW), np.float32)
    raw[0, :, 0] = [math.log(3), 0.0]
    raw[0, 0, 4:6] = [2.0, 0.0]  # concentration 10 about yaw pi/4
    density = mixture_of(
        jnp.asarray(raw), jnp.array([[[0.2, 0.0], [-0.2, 0.0]]]), jnp.array([[0.1, -0.1]])
    )
    many = one(density, 0, 20_000)
    drawn = np.asarray(many.sample(jax.random.key(0), 1.0), np.float64)
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
    cold = np.asarray(many.sample(jax.random.key(0), 0.25))
    assert cold[cold[:, 0] > 0, 1].std() == pytest.approx(0.015, rel=0.05)


def test_squared_error_head_is_a_squared_error() -> None:
    density, action = density_of("mse"), poses(5, 3)
    difference = np.asarray(action - density.mean, np.float64)
    difference[:, 5] = np.mod(difference[:, 5] + math.pi / 2, math.pi) - math.pi / 2
    half = 0.5 * np.square(difference / np.array(density.sigma)).sum(-1)
    constant = np.asarray(density.log_prob(action)) + half
    np.testing.assert_allclose(constant, constant[0], atol=1e-3)


def test_bins_hand_worked() -> None:
    logit = jnp.zeros((1, 7, 4)).at[0, 0, 3].set(math.log(3))  # x: 1/6, 1/6, 1/6, 1/2
    low, high = (0.0,) * 5 + (-math.pi / 2, 0.0), (4.0, 4.0, 4.0, 4.0, 4.0, math.pi / 2, 1.0)
    density = Binned(logit, low, high)
    action = jnp.array([[3.5, 0, 0, 0, 0, 0, 0]])
    expected = math.log(1 / 2) + 4 * math.log(1 / 4) + math.log(1 / math.pi) + math.log(1)
    assert float(density.log_prob(action)[0]) == pytest.approx(expected, abs=1e-5)
    assert float(density.mode()[0, 0]) == 3.5


def test_gradients_are_finite_at_extremes() -> None:
    def nll(raw: jax.Array, action: jax.Array) -> jax.Array:
        density = mixture_of(raw, REACH * jnp.tanh(raw[..., 1:3]), jnp.zeros((1, 2)))
        return -density.log_prob(action).sum()

    for value in (0.0, 30.0, -30.0):
        raw, action = jnp.full((1, 3, RAW), value), jnp.array([[0.3, -0.3, 0.4, 1, 1, 1, 1.0]])
        assert np.isfinite(jax.grad(nll)(raw, action)).all()


@pytest.mark.parametrize("embedding", sorted(EMBEDDINGS))
@pytest.mark.parametrize("m", [2, 5])
def test_embeddings_are_unit_vectors_of_their_own_demonstration(embedding: str, m: int) -> None:
    policy = Policy(camera=CAMERA, embedding=embedding, embedding_size=12, channels=8)
    params = init_params(policy, jax.random.key(0), image_size=32, frames=m)
    demo_image, demo_pose = pictures(0, 4, m), poses(0, 4, 7)
    embed = jax.jit(lambda i, p: policy.apply({"params": params}, i, p, method="embed"))
    z = np.asarray(embed(demo_image, demo_pose))
    assert z.shape == (4, 12)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-3)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(embed(demo_image[order], demo_pose[order]), z[order], atol=1e-5)
    # Only the pose-anchored embedding may look at the given poses.
    moved = np.abs(np.asarray(embed(demo_image, poses(9, 4, 7))) - z).max()
    assert (moved > 1e-3) == (embedding == "pose_anchored")
    last = demo_image.copy()
    last[:, -1] = 255 - last[:, -1]
    assert np.abs(np.asarray(embed(last, demo_pose)) - z).max() > 1e-4


def test_auxiliary_loss_is_the_error_of_the_read_pose() -> None:
    module = ImagesOnlyPredicted(CAMERA, 8)
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 4, 8)), jnp.float32)
    pose = poses(0, 2, 7)  # two key poses, five along the demonstration
    params = jax.jit(module.init)(jax.random.key(0), maps, pose)
    # With its output layers at zero it reads: middle of the table, 0.1 m, half open, yaw unknown.
    reader = params["params"]["reader"]
    for layer in ("where", "read"):
        reader[layer] = jax.tree.map(jnp.zeros_like, reader[layer])
    _, auxiliary = jax.jit(module.apply)(params, maps, pose)
    for row in range(2):
        errors = []
        for x, y, z, _, _, _, finger in pose[row, [2, 4, 6]].astype(float):
            place = np.hypot(x, y) / (1 - z) / 0.05
            errors.append(place**2 + ((z - 0.1) / 0.05) ** 2 + (finger - 0.5) ** 2 + 1)
        assert float(auxiliary[row]) == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_acts_on_picture_pose_and_demonstration(head: str) -> None:
    policy = Policy(camera=CAMERA, head=head, embedding_size=6, channels=8)
    params = init_params(policy, jax.random.key(0), image_size=32)
    args = [pictures(0, 2), poses(0, 2), jnp.eye(2, 6)]
    log_prob = jax.jit(
        lambda *a: policy.apply({"params": params}, *a, method="act").log_prob(poses(1, 2))
    )
    base = np.asarray(log_prob(*args))
    for k, other in enumerate((pictures(1, 2), poses(2, 2), jnp.zeros((2, 6)))):
        changed = [other if i == k else a for i, a in enumerate(args)]
        assert np.abs(np.asarray(log_prob(*changed)) - base).max() > 1e-5
    # The same parameters serve another picture size.
    assert np.isfinite(log_prob(pictures(0, 2, size=40), *args[1:])).all()


def anchored(place: np.ndarray | None = None, sizes: tuple[float, ...] = (0.0,) * SIZES) -> Mixture:
    """The default head's density for 3 observations, told the places [3,2,2] m or not, and what the
    demonstration says of heights and openings."""
    rng = np.random.default_rng(0)
    module = AnchoredMixture(CAMERA)
    args = [jnp.asarray(rng.normal(size=(3, 5, 5, 8)), jnp.float32), poses(0, 3)]
    z = rng.normal(size=(3, 6 + SIZES))
    z[:, 6:] = SIZE_SCALE * np.array(sizes)
    args.append(jnp.asarray(z, jnp.float32))
    params = jax.jit(module.init)(jax.random.key(0), *args)
    if place is not None:
        args.append((jnp.asarray(place[:, :, None], jnp.float32), np.ones((3, 2), bool)))
    return jax.jit(module.apply)(params, *args)


def test_components_are_anchored_at_the_places_beside_them_and_at_the_gripper() -> None:
    # Far from each other and from whatever the untrained head finds.
    place = np.array([[[0.2, 0.2], [0.2, -0.2]]] * 3)
    density = anchored(place)
    assert density.xy.shape == (3, 17, 2)
    way = np.array([0.0, -1.0])
    anchors = np.repeat(np.concatenate([place[0], place[0] - BESIDE * way]), 4, 0)
    assert (np.abs(density.xy[:, :16] - anchors) <= REACH + 1e-6).all()
    # What is lifted goes straight up: exactly there, and at the carrying height alone.
    np.testing.assert_allclose(density.xy[:, -1], poses(0, 3)[:, :2], atol=1e-6)
    np.testing.assert_allclose(density.z[:, -1], LIFTED_Z, atol=1e-6)


def test_without_hindsight_it_acts_on_what_it_finds() -> None:
    density = anchored()
    found = np.asarray(density.focus.mode())
    told = anchored(found + 0.5 * CLOSE / math.sqrt(2))  # near enough not to be corrected
    np.testing.assert_allclose(density.xy, told.xy, atol=1e-5)
    far = anchored(found + 2 * CLOSE)
    assert np.abs(density.xy - far.xy)[:, :16].max() > CLOSE


def test_the_density_of_the_places_integrates_to_one_and_its_mode_is_likely() -> None:
    focus = anchored().focus
    grid = np.linspace(-0.45, 0.45, 181)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(1, 1, -1, 2)
    points = jnp.asarray(np.broadcast_to(points, (3, 2, *points.shape[2:])), jnp.float32)
    density = np.exp(np.asarray(focus.log_prob(points), np.float64))
    np.testing.assert_allclose(density.sum(-1) * 0.005**2, 1, atol=0.01)
    at_mode = np.exp(focus.log_prob(focus.mode()[:, :, None]))[..., 0]
    assert (at_mode > np.quantile(density, 0.99, axis=-1)).all()


def test_portraits_ask_for_what_lies_at_two_spots() -> None:
    policy = Policy(camera=CAMERA, channels=8, blocks=1, embedding_size=16)
    params = init_params(policy, jax.random.key(0), image_size=32)
    maps = jax.random.normal(jax.random.key(1), (3, 8, 8, 8))
    cells = np.asarray(CAMERA.cells(8, 8))
    spots = np.stack([cells[[9, 30]], cells[[63, 0]], cells[[20, 20]]])
    z = policy.apply({"params": params}, maps, spots, method="portray")
    plain = np.asarray(maps).reshape(3, 64, 8)
    plain = plain / np.sqrt(np.mean(plain**2, -1, keepdims=True))
    seen = np.stack([plain[0, [9, 30]], plain[1, [63, 0]], plain[2, [20, 20]]]).reshape(3, 16)
    wanted = seen @ np.asarray(params["embedder"]["anchored"]["portraits"]["kernel"])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(z, np.pad(wanted, ((0, 0), (0, SIZES))), atol=1e-4)
    found = policy.apply({"params": params}, maps, z, method="find")
    density = policy.apply({"params": params}, maps, jnp.zeros((3, 7)), z, method="act_maps")
    jax.tree.map(np.testing.assert_array_equal, found, density.focus)


def test_an_embedding_says_how_high_and_how_far_open() -> None:
    policy = Policy(camera=CAMERA, channels=8, blocks=1, embedding_size=12)
    params = init_params(policy, jax.random.key(0), image_size=32)
    pose = np.array(poses(0, 1, 7))
    pose[0, :2, 2], pose[0, :2, 6] = (0.02, 0.17), (1.0, 0.3)  # at the touch and at the end
    pose[0, 2:, 6] = (0.9, 0.8, 0.25, 0.4, 0.3)
    z = policy.apply({"params": params}, pictures(0, 1, 2), pose, method="embed")[0]
    # In units of 5 cm from 10 cm, and from closed to open as -1 to 1; beside the rest a tenth.
    sizes = np.array([-1.6, 1.4, -0.5, -0.4])
    rest = np.linalg.norm(z[:-SIZES])
    np.testing.assert_allclose(z[-SIZES:] / rest, 0.1 * sizes, atol=1e-3)
    # So high some of the components begin, at the place that is touched and beside it, and where
    # it ends; raised by a demonstration, they rise with it.
    low, high = (anchored(sizes=(height, 0.0, 0.0, 0.0)) for height in (-1.6, 0.0))
    rise = np.asarray(high.z - low.z)[:, :16].reshape(3, 4, 2, 2)
    np.testing.assert_allclose(rise[:, ::2, 1], 1.6 * UNIT, atol=0.02)
    assert (np.abs(rise[:, 1::2]) < 0.02).all() and (np.abs(rise[:, :, 0]) < 0.02).all()
    # On the way up its fingers are as they are when the demonstration ends.
    ends = [anchored(sizes=(0.0, 0.0, 0.0, finger)) for finger in (-1.0, 1.0)]
    np.testing.assert_allclose(ends[1].finger[:, -1] - ends[0].finger[:, -1], 1, atol=0.1)


def test_memory_is_a_running_mean() -> None:
    a, b = anchored().focus, jax.tree.map(lambda x: x + 1.0, anchored().focus)
    log_weight = lambda f: np.asarray(jax.nn.log_softmax(f.logit, -1))  # noqa: E731
    first = a.after(jax.tree.map(jnp.zeros_like, a), jnp.zeros((2, 1)))
    np.testing.assert_allclose(first.logit, log_weight(a), atol=1e-6)
    second = b.after(first, jnp.array([[0.75], [0.0]]))
    old, new = log_weight(a), log_weight(b)
    np.testing.assert_allclose(second.x[:, 0], 0.75 * a.x[:, 0] + 0.25 * b.x[:, 0], atol=1e-6)
    np.testing.assert_allclose(second.logit[:, 0], (0.75 * old + 0.25 * new)[:, 0], atol=1e-5)
    np.testing.assert_allclose(second.x[:, 1], b.x[:, 1], atol=1e-6)  # nothing is kept of it


def test_unknown_names_are_refused() -> None:
    for field in ("embedding", "head"):
        with pytest.raises(ConfigError, match=f"Policy.{field}"):
            init_params(Policy(**{field: "nonsense"}), jax.random.key(0), image_size=32)


def test_bfloat16_is_for_accelerators_and_stays_near(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    exact, short = Encoder(8, 2), Encoder(8, 2, bfloat16=True)
    params = exact.init(jax.random.key(0), image)

    def value_and_gradient(encoder: Encoder) -> tuple[jax.Array, dict]:
        def loss(params: dict) -> tuple[jax.Array, jax.Array]:
            maps = encoder.apply(params, image)
            return jnp.mean(jnp.square(maps)), maps

        gradient, maps = jax.grad(loss, has_aux=True)(params)
        return maps, gradient

    wanted, slope = value_and_gradient(exact)
    np.testing.assert_array_equal(value_and_gradient(short)[0], wanted)  # a CPU takes no part
    for module in (kernels, encoder):
        monkeypatch.setattr(module, "on_cpu", lambda: False)
    maps, gradient = value_and_gradient(short)
    assert maps.dtype == jnp.float32 and (maps != wanted).any()
    np.testing.assert_allclose(maps, wanted, rtol=0.02, atol=0.02 * float(jnp.abs(wanted).max()))
    for name, value in gradient["params"].items():
        assert value.dtype == jnp.float32
        scale = float(jnp.abs(slope["params"][name]).max())
        np.testing.assert_allclose(value, slope["params"][name], atol=0.03 * scale, err_msg=name)
