"""The reference of a deep Boltzmann machine, by all of its states: partition function, bound, gradients."""

import numpy as np
import pytest

from fastvae.reference import dbm as reference
from tests.support.tolerances import check

D, H1, H2 = 6, 4, 3
V = reference.states(D)


def parameters(seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    shapes = {"visible": (D,), "W1": (D, H1), "b1": (H1,), "W2": (H1, H2), "b2": (H2,)}
    return {name: size * rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("seed", range(3))
def test_closed_forms_are_sums_over_all_states(seed):
    params = parameters(seed)
    log_p = reference.dbm_log_unnormalised(params)
    energies = [
        -reference.dbm_energy(params, *(np.array([state[i]]) for state, i in zip(places, at, strict=True)))[0]
        for places in [(V, reference.states(H1), reference.states(H2))]
        for at in np.ndindex(log_p.shape)
    ]
    check(log_p.ravel(), np.array(energies), "exact", 1 + np.abs(energies))
    z = np.exp(log_p).sum()
    check(reference.dbm_log_z(params), np.log(z), "exact")
    check(reference.dbm_log_prob(params, V), np.log(np.exp(log_p).sum(axis=(1, 2)) / z), "exact")


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_lies_below_by_the_divergence_from_the_posterior(seed):
    params = parameters(seed, 1.5)
    h1, h2 = reference.dbm_mean_field(params, V, 3, np.full((len(V), H2), 0.5))
    bound, exact = reference.dbm_bound(params, V, h1, h2), reference.dbm_log_prob(params, V)
    log_joint = reference.dbm_log_unnormalised(params) - reference.dbm_log_z(params)
    of_h1, of_h2 = (
        np.prod(np.where(reference.states(m.shape[1])[None] == 1, m[:, None], 1 - m[:, None]), axis=2) for m in (h1, h2)
    )
    q = of_h1[:, :, None] * of_h2[:, None]
    divergence = (q * (np.log(q) - log_joint + exact[:, None, None])).sum(axis=(1, 2))
    assert divergence.min() > 1e-4
    np.testing.assert_allclose(bound, exact - divergence, rtol=1e-11)


def test_a_sweep_never_lowers_the_bound_and_ends_where_it_is_flat():
    params, h2, before = parameters(4, 1.5), np.full((len(V), H2), 0.5), -np.inf
    for _ in range(200):
        h1, h2 = reference.dbm_mean_field(params, V, 1, h2)
        now = reference.dbm_bound(params, V, h1, h2)
        assert (now >= before - 1e-12).all()
        before = now
    for means in (h1, h2):
        for column in range(means.shape[1]):
            sides = []
            for sign in (1, -1):
                means[:, column] += sign * 1e-6
                sides.append(reference.dbm_bound(params, V, h1, h2))
                means[:, column] -= sign * 1e-6
            inside = np.minimum(means[:, column], 1 - means[:, column]) > 0.01  # elsewhere differences are coarse
            assert inside.any()
            np.testing.assert_allclose((sides[0] - sides[1])[inside] / 2e-6, 0, atol=1e-7)


def test_gradients_of_the_bound_by_differences():
    """At a fixed point of the mean field, q may be found anew for other parameters: the bound is flat in it."""
    params, v = parameters(5), V[[3, 17, 40, 41, 63]]

    def bound():
        h1, h2 = reference.dbm_mean_field(params, v, 300, np.full((len(v), H2), 0.5))
        return reference.dbm_bound(params, v, h1, h2).mean()

    h1, h2 = reference.dbm_mean_field(params, v, 300, np.full((len(v), H2), 0.5))
    gradients = reference.dbm_bound_gradients(params, v, h1, h2)
    for name, values in params.items():
        for place in np.ndindex(values.shape):
            kept, sides = values[place], []
            for sign in (1, -1):
                values[place] = kept + sign * 1e-5
                sides.append(bound())
            values[place] = kept
            assert gradients[name][place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


def test_centred_gradients_are_steps_of_the_centred_parametrisation():
    """-E = (v - mu)' W1 (h1 - lambda1) + ... + visible_c' v + ...: a step of its parameters, taken back to these."""
    rng, params, rate = np.random.default_rng(6), parameters(7), 0.3
    data, model = ([rng.random((n, k)) for k in (D, H1, H2)] for n in (5, 8))
    offsets = mu, one, two = [rng.random(k) for k in (D, H1, H2)]
    found = reference.dbm_centred_gradients(data, model, offsets)

    def centred(rows):
        v, h1, h2 = rows
        return {
            "visible": v.mean(axis=0),
            "W1": (v - mu).T @ (h1 - one) / len(v),
            "b1": h1.mean(axis=0),
            "W2": (h1 - one).T @ (h2 - two) / len(v),
            "b2": h2.mean(axis=0),
        }

    def shifts(p):
        """What centred biases have that others lack."""
        return {"visible": p["W1"] @ one, "b1": p["W1"].T @ mu + p["W2"] @ two, "b2": p["W2"].T @ one}

    inside = {name: values + shifts(params).get(name, 0) for name, values in params.items()}
    of_data, of_model = centred(data), centred(model)
    moved = {name: values + rate * (of_data[name] - of_model[name]) for name, values in inside.items()}
    back = {name: values - shifts(moved).get(name, 0) for name, values in moved.items()}
    for name, values in params.items():
        np.testing.assert_allclose(found[name], (back[name] - values) / rate, atol=1e-12)


def test_conditionals_are_those_of_the_joint_distribution():
    params = parameters(8)
    log_p = reference.dbm_log_unnormalised(params)
    p, (h1, h2) = np.exp(log_p - log_p.max()), (reference.states(n) for n in (H1, H2))
    of_v, of_h2 = reference.dbm_conditionals(params, h1=h1)
    for state in range(len(h1)):
        both = p[:, state] / p[:, state].sum()
        np.testing.assert_allclose(of_v[state], both.sum(axis=1) @ V, rtol=1e-10)
        np.testing.assert_allclose(of_h2[state], both.sum(axis=0) @ h2, rtol=1e-10)
    for i, k in ((5, 2), (60, 7)):
        weights = p[i, :, k] / p[i, :, k].sum()
        found = reference.dbm_conditionals(params, v=V[i : i + 1], h2=h2[k : k + 1])[0]
        np.testing.assert_allclose(found, weights @ h1, rtol=1e-10)
