"""Hamiltonian Monte Carlo leaves its target as it is: exactly where that can be counted, by ranks where it cannot."""

import numpy as np
import pytest
from scipy import stats

from fastvae import VAE
from fastvae.evaluation import hmc
from fastvae.evaluation.densities import CodeDensity, encoded
from fastvae.evaluation.hmc import Noise, Path, State
from fastvae.kernels import cpu

RNG = np.random.default_rng(4)


# ---- an enumerable target ---------------------------------------------------------------------------------------


class Lattice:
    """A density over the whole numbers modulo `size`, and a "slope" of even numbers that need not be its gradient: so
    positions and velocities stay whole, and every state can be counted. `beta` does not enter."""

    def __init__(self, size):
        self.logs, self.slopes = RNG.normal(size=size), 2.0 * RNG.integers(-2, 3, size)

    def at(self, z):
        return np.round(z).astype(int) % len(self.logs)

    def evaluate(self, z):
        return self.logs[self.at(z[..., 0])], self.slopes[self.at(z)]

    def log_density(self, state, beta):
        return state.log_likelihood

    def slope(self, state, beta):
        return state.gradient

    def units(self, beta):
        return np.ones((1, len(beta), 1))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_target_that_can_be_enumerated_stays_exactly(count):
    """sum_z p(z) P(z -> z') = p(z'), over all positions and velocities."""
    size, velocities = 7, np.arange(-40.0, 41.0)
    target, weights = Lattice(size), np.exp(-0.5 * velocities**2)
    weights /= weights.sum()
    shape = size, len(velocities)
    z = np.broadcast_to(np.arange(size, dtype=float)[:, None, None], (*shape, 1))
    noise = np.broadcast_to(velocities[:, None], (*shape, 1))
    state, beta = State(z, *target.evaluate(z)), np.ones(len(velocities))
    given = target, beta, state, np.ones(shape), noise

    proposed, probability = hmc.transition(*given, np.full(shape, 1e-300), count, target.evaluate)
    moves = np.zeros((size, size))
    for i, j in np.ndindex(shape):
        moves[i, target.at(proposed.z[i, j, 0])] += weights[j] * probability[i, j]
        moves[i, i] += weights[j] * (1 - probability[i, j])
    density = np.exp(target.logs) / np.exp(target.logs).sum()
    np.testing.assert_allclose(density @ moves, density, rtol=1e-12)
    assert 0.05 < probability.mean() < 0.95

    for factor, expected in ((1 - 1e-9, proposed.z), (1 + 1e-9, z)):  # what `uniform` decides is that probability
        decided = hmc.transition(*given, np.maximum(probability * factor, 1e-300), count, target.evaluate)[0]
        unsure = (probability < 1) & (probability > 1e-290)
        assert unsure.any()
        assert (decided.z[unsure] == expected[unsure]).all()


# ---- a decoder --------------------------------------------------------------------------------------------------


def decoder(likelihood="bernoulli", latent_dim=2, columns=12, strength=2.0, seed=1, **settings):
    """A VAE whose decoder bends z: nothing was trained."""
    rng = np.random.default_rng(seed)
    vae = VAE(latent_dim, (6,), "tanh", likelihood, random_state=seed, **settings)
    x = rng.poisson(3.0, (40, columns)) if likelihood == "poisson" else rng.random((40, columns))
    vae.initialize(x.astype(np.float32))
    for name, values in vae.parameters().items():
        if name.startswith("decoder"):
            values[:] = strength * rng.normal(size=values.shape) / np.sqrt(values.shape[0])
    return vae


def chains(vae, rows, count, start="q"):
    """A path of examples that the model has made, chains somewhere on it, and what evaluates them."""
    network = vae.network_
    z = RNG.normal(size=(rows, network.inputs["z"])).astype(np.float32)
    x = vae.network_.likelihood.draw(vae.decode(z), cpu, np.uint64(1), 0).astype(np.float32)
    mu, logvar = encoded(network, {"x": x})
    deviation = np.exp(logvar / 2)[:, None]
    base = (mu[:, None], deviation) if start == "q" else (np.zeros_like(deviation), np.ones_like(deviation))
    path, likelihoods = Path(*base, deviation), CodeDensity(network, rows * count)
    workers = network.backend.passing(1)

    def evaluate(codes):
        if likelihoods.rows != codes.shape[0] * codes.shape[1]:
            likelihoods.hold({"x": x}, codes.shape[1])
        return likelihoods(codes, workers)

    codes = RNG.normal(size=(rows, count, network.inputs["z"]))
    return path, State(codes, *evaluate(codes)), evaluate, z


@pytest.mark.parametrize("start", ["q", "prior"])
def test_the_slope_is_the_gradient_of_the_log_density(start):
    path, state, evaluate, _ = chains(decoder(), 3, 4, start)
    beta = np.array([0.0, 0.3, 0.8, 1.0])
    slope, size = path.slope(state, beta), 2.0**-7
    for column in range(state.z.shape[2]):
        sides = []
        for sign in (1, -1):
            z = state.z.astype(np.float32).astype(float)
            z[..., column] += sign * size
            sides.append(path.log_density(State(z, *evaluate(z)), beta))
        np.testing.assert_allclose(slope[..., column], (sides[0] - sides[1]) / (2 * size), rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(
        path.log_density(state, np.ones(4)) - path.log_density(state, np.zeros(4)), path.log_ratio(state), rtol=1e-12
    )


def test_leapfrog_goes_back_and_keeps_volume():
    """The map is its own inverse with the velocity reversed; its Jacobian has determinant 1."""
    path, state, evaluate, _ = chains(decoder(), 2, 3)
    beta, step = np.array([0.2, 0.7, 1.0]), 0.2 * path.units(np.array([0.2, 0.7, 1.0]))
    velocity = RNG.normal(size=state.z.shape)
    there, moved = hmc.leapfrog(path, beta, state, velocity, step, 5, evaluate)
    assert np.abs(there.z - state.z).max() > 0.1
    back, turned = hmc.leapfrog(path, beta, there, -moved, step, 5, evaluate)
    np.testing.assert_allclose(back.z, state.z, atol=1e-5)
    np.testing.assert_allclose(-turned, velocity, atol=1e-5)

    small, Z = 2.0**-6, state.z.shape[2]

    def flow(z, v):
        to, w = hmc.leapfrog(path, beta, State(z, *evaluate(z)), v, step, 5, evaluate)
        return np.concatenate([to.z, w], axis=-1)

    jacobian = np.empty((*state.z.shape[:2], 2 * Z, 2 * Z))
    for k in range(2 * Z):
        offset = np.zeros((2, Z))
        offset.ravel()[k] = small
        ahead, behind = (flow(state.z + sign * offset[0], velocity + sign * offset[1]) for sign in (1, -1))
        jacobian[..., k] = (ahead - behind) / (2 * small)
    np.testing.assert_allclose(np.linalg.det(jacobian), 1.0, atol=0.01)


def test_leapfrog_is_of_second_order():
    """Half the step, a quarter of the error of the energy: the forces are those of the density."""
    path, state, evaluate, _ = chains(decoder(strength=1.0), 50, 4)
    beta, velocity = np.array([0.0, 0.4, 0.8, 1.0]), RNG.normal(size=state.z.shape)
    energy = path.log_density(state, beta) - 0.5 * np.square(velocity).sum(axis=-1)
    errors = []
    for steps in (8, 16):
        step = 1.6 / steps * path.units(beta)
        there, moved = hmc.leapfrog(path, beta, state, velocity, step, steps, evaluate)
        after = path.log_density(there, beta) - 0.5 * np.square(moved).sum(axis=-1)
        errors.append(np.median(np.abs(after - energy), axis=0))
    assert (errors[0] / errors[1] > 3).all()
    assert (errors[0] / errors[1] < 5.5).all()


def test_detailed_balance():
    """f(z) N(v) a(z, v -> z', v') = f(z') N(v') a(z', -v' -> z, -v), for the probabilities that are returned."""
    path, state, evaluate, _ = chains(decoder(), 6, 8)
    beta, noise = np.linspace(0, 1, 8), RNG.normal(size=state.z.shape)
    step = np.full(state.z.shape[:2], 0.5)
    always, count = np.full(step.shape, 1e-300), 3
    there, one = hmc.transition(path, beta, state, step, noise, always, count, evaluate)
    _, moved = hmc.leapfrog(path, beta, state, noise, step[..., None] * path.units(beta), count, evaluate)
    back, other = hmc.transition(path, beta, there, step, -moved, always, count, evaluate)
    np.testing.assert_allclose(back.z, state.z, atol=1e-5)
    before = path.log_density(state, beta) - 0.5 * np.square(noise).sum(axis=-1)
    after = path.log_density(there, beta) - 0.5 * np.square(moved).sum(axis=-1)
    np.testing.assert_allclose(before + np.log(one), after + np.log(other), atol=1e-3)
    assert one.min() < 0.9


def uniform_ranks(ranks, values):
    """The p-value of a chi-square test that ranks are uniform over 0 ... values - 1."""
    counts = np.bincount(ranks, minlength=values)
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize(("likelihood", "settings"), [("bernoulli", {}), ("gaussian", {"sigma": 0.5, "scale": None})])
def test_the_posterior_stays_by_ranks(likelihood, settings):
    """z from the prior and x from p(x|z) make z a draw of p(z|x). A chain through it, in which its place was drawn by
    lot, goes both ways, as transitions are reversible: its rank among the others is uniform (Gandy and Scott 2021)."""
    rows, length = 8000, 8
    vae = decoder(likelihood, strength=1.0, **settings)
    path, _, evaluate, z = chains(vae, rows, 1)
    beta, z = np.ones(1), z[:, None].astype(float)
    exact = State(z, *evaluate(z))
    place = RNG.integers(0, length, rows)
    noise, pilot = (Noise(cpu, np.uint64(5), [use], 0, rows, z.shape[2]) for use in [(0, 1), (1, hmc.PILOT_CHAINS)])
    steps = 1.4 * hmc.adapted_steps(path, np.ones(3), pilot, 2, evaluate)[0][:, 1:2]  # some are refused
    statistics, accepted = np.empty((length, rows, 4)), []

    def keep(state, at, where):
        seen = np.concatenate(
            [state.z[:, 0], np.square(state.z[:, 0]).sum(axis=1, keepdims=True), state.log_likelihood], axis=1
        )
        statistics[at[where], np.arange(rows)[where]] = seen[where]

    keep(exact, place, np.ones(rows, bool))
    for direction in (1, -1):
        state = exact
        for i in range(1, length):
            number = i if direction > 0 else length + i
            state, probability = hmc.move(path, beta, state, steps, noise, number, 2, evaluate)
            at = place + direction * i
            keep(state, at, (at >= 0) & (at < length))
            accepted.append(probability.mean())
    assert 0.3 < np.mean(accepted) < 0.95
    own = statistics[place, np.arange(rows)]
    for k in range(statistics.shape[2]):
        # one that stands still ties with its own copies: lots decide
        below = (statistics[..., k] < own[:, k]).sum(axis=0)
        ties = (statistics[..., k] == own[:, k]).sum(axis=0) - 1
        ranks = below + RNG.integers(0, ties + 1)
        assert uniform_ranks(ranks, length) > 1e-4, k


# ---- step sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["q", "prior"])
def test_step_sizes_reach_the_acceptance_that_they_aim_at(start):
    vae = decoder(latent_dim=8, columns=30, strength=4.0)
    path, state, evaluate, _ = chains(vae, 12, hmc.PILOT_CHAINS, start)
    betas = np.linspace(0, 1, 61)
    noise = [Noise(cpu, np.uint64(2), [(use, hmc.PILOT_CHAINS)], 0, 12, 8) for use in (0, 1)]
    steps = hmc.adapted_steps(path, betas, noise[0], 2, evaluate)[0]
    assert steps.shape == (12, 61)
    assert (steps > 0).all()
    assert (hmc.adapted_steps(path, betas, noise[0], 2, evaluate)[0] == steps).all()
    z = path.mean + path.deviation * noise[1].normals(9, 0)
    state, accepted = State(z, *evaluate(z)), []
    for t in range(1, 60):
        step = np.repeat(steps[:, t, None], hmc.PILOT_CHAINS, axis=1)
        beta = np.full(hmc.PILOT_CHAINS, betas[t])
        state, probability = hmc.move(path, beta, state, step, noise[1], t, 2, evaluate)
        accepted.append(probability.mean(axis=1))
    longest = np.isclose(steps[:, 1:60].T, hmc.TURN / 2)
    assert abs(np.mean(np.array(accepted)[~longest]) - hmc.TARGET) < 0.1
    assert np.std(np.log(steps[:, 30])) > 0.01  # each example has its own


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_only_what_is_surely_too_narrow_is_widened(columns):
    """Chains as wide as `scale` are hardly ever taken for wider ones, chains three times as wide mostly."""
    rows, scale = 4000, RNG.uniform(0.1, 1, (4000, 1, columns))
    z = 5 + scale * RNG.normal(size=(rows, hmc.PILOT_CHAINS, columns))
    assert np.mean(hmc.widening(z, scale) > 1) < 0.1
    factors = hmc.widening(z, scale / 3)
    assert np.mean(factors > 1) > 0.8
    assert np.median(factors[factors > 1]) == pytest.approx(3, rel=0.1)
    assert (hmc.widening(z, scale * 2) == 1).all() or columns == 1
    assert (hmc.widening(z, scale / 1000) == hmc.WIDEST).all()


def test_proposals_that_are_not_finite_are_refused():
    path, state, evaluate, _ = chains(decoder(), 3, 2)
    beta, noise, uniform = np.ones(2), RNG.normal(size=state.z.shape), np.full((3, 2), 0.5)
    for step in (1e30, np.inf, np.nan):
        after, probability = hmc.transition(path, beta, state, np.full((3, 2), step), noise, uniform, 2, evaluate)
        assert (after.z == state.z).all()
        assert (probability == 0).all()


def test_noise_belongs_to_the_example_and_the_chain():
    def drawn(uses, first, rows):
        noise = Noise(cpu, np.uint64(3), uses, first, rows, 5)
        return [noise.normals(1, 4), *noise.uniforms(2, 4)]

    for whole, part in zip(drawn([(0, 7), (1, 2)], 0, 6), drawn([(0, 3)], 2, 4), strict=True):
        assert whole.shape[:2] == (6, 9)
        assert (whole[2:, :3] == part).all()
        assert len(np.unique(whole.round(6))) > 0.99 * whole.size
