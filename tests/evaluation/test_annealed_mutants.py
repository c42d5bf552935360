"""Faults put into annealed importance sampling on purpose: a test notices each."""

import importlib
import inspect

import pytest

from tests.evaluation import test_annealed, test_annealed_models, test_hmc

pytestmark = pytest.mark.long
NAMES = "densities", "hmc", "accumulator", "chains", "annealed"  # in the order of their imports
MODULES = {name: importlib.import_module(f"fastvae.evaluation.{name}") for name in NAMES}
SOURCES = {name: inspect.getsource(module) for name, module in MODULES.items()}


def unbiased(start="q", count=6):
    test_annealed.test_weights_are_unbiased(start=start, count=count)


def unbiased_inverses(start="prior", chains=1):
    test_annealed.test_upper_weights_are_unbiased_by_their_inverses(start=start, chains=chains)


def pilots():
    with pytest.MonkeyPatch.context() as patch:
        test_annealed.test_step_sizes_of_weighed_chains_are_the_pilots(patch)


def units():
    test_annealed_models.test_quadrature_agrees("gaussian, learned", 2, "q")


def a_condition():
    test_annealed_models.test_a_condition("labels", "bernoulli")


def ranks():
    test_hmc.test_the_posterior_stays_by_ranks("bernoulli", {})


def lattice():
    test_hmc.test_a_target_that_can_be_enumerated_stays_exactly(2)


def slope():
    test_hmc.test_the_slope_is_the_gradient_of_the_log_density("q")


SEPARATE = test_annealed.test_chains_do_not_depend_on_how_many_there_are
BACK = test_hmc.test_leapfrog_goes_back_and_keeps_volume
USES = test_annealed.test_no_two_uses_share_their_noise
NOISE = test_hmc.test_noise_belongs_to_the_example_and_the_chain

MUTANTS = {
    "the schedule's ends swapped": (
        "chains", "np.arange(count + 1) / count", "1.0 - np.arange(count + 1) / count", unbiased,
    ),
    "steps adapted by all weighed chains": (
        "chains", "                rates[0, t - 1]", "                self._steps *= 0.5 + probability.mean()\n"
        "                rates[0, t - 1]", SEPARATE,
    ),
    "steps adapted by each chain's own past": (
        "chains", "of_each(self._steps[:, t], self._steps[:, back])",
        "of_each(self._steps[:, t], self._steps[:, back]) * (1 if t == 1 else 0.5 + probability)", pilots,
    ),
    "the pilot's noise again": ("chains", "PILOT, SECOND_PILOT = range(4)", "PILOT, SECOND_PILOT = 0, 1, 0, 3", USES),
    "no Metropolis step": ("hmc", "np.log(uniform) < change", "change > -np.inf", lattice),
    "no Metropolis step, by ranks": ("hmc", "np.log(uniform) < change", "change > -np.inf", ranks),
    "no Metropolis step, by weights": ("hmc", "np.log(uniform) < change", "change > -np.inf", unbiased),
    "a Metropolis step the wrong way": ("hmc", "np.log(uniform) < change", "np.log(uniform) > change", lattice),
    "acceptance without the velocity": ("hmc", "- 0.5 * np.square(velocity).sum(axis=-1)", "", ranks),
    "velocities half as large": (
        "hmc", "noise.normals(philox.MOMENTUM, number),", "noise.normals(philox.MOMENTUM, number) * 0.5,", ranks,
    ),
    "velocities of half of the columns": (
        "hmc", "return transition(path, beta, state, jittered, noise.normals(philox.MOMENTUM, number),",
        "return transition(path, beta, state, jittered, noise.normals(philox.MOMENTUM, number) * [0, 1],", ranks,
    ),
    "the same velocities at each temperature": (
        "hmc", "noise.normals(philox.MOMENTUM, number)", "noise.normals(philox.MOMENTUM, 0)", ranks,
    ),
    "no half step at the end": ("hmc", "0.5 * step) * path.slope", "step) * path.slope", BACK),
    "a force the wrong way": ("hmc", "beta * (state.gradient - state.z)", "beta * (state.z - state.gradient)", slope),
    "a force without the prior": ("hmc", "beta * (state.gradient - state.z)", "beta * state.gradient", slope),
    "log p(x|z) with the other sign": ("densities", "np.negative(nll, out=nll)", "nll", unbiased),
    "log r(z) with the other sign": (
        "hmc", "self._log_prior(state.z) - self._log_base", "self._log_prior(state.z) + self._log_base", unbiased,
    ),
    "no log r(z)": ("hmc", "self._log_prior(state.z) - self._log_base(state.z)", "self._log_prior(state.z)", unbiased),
    "no log determinant of r": ("hmc", "- logs", "", unbiased),
    "weights after the transition": (
        "chains", "of_each(betas[t] - betas[t - 1], betas[back + 1] - betas[back])",
        "of_each(betas[min(t + 1, T)] - betas[t], betas[back + 1] - betas[back])", unbiased,
    ),
    "one temperature too few": ("chains", "for t in range(1, T + 1)", "for t in range(1, T)", unbiased),
    "the reverse chain a temperature behind": (
        "chains", "of_each(betas[t], betas[back])", "of_each(betas[t], betas[back + 1])", unbiased_inverses,
    ),
    "the reverse chain in the forward direction": (
        "chains", "of_each(betas[t], betas[back])", "of_each(betas[t], betas[t])", unbiased_inverses,
    ),
    "the reverse chain from r": (
        "chains", "np.concatenate([z, exact[:, None]], axis=1)", "np.concatenate([z, z[:, :1]], axis=1)",
        unbiased_inverses,
    ),
    "the reverse chain beside all others": (
        "chains", "np.concatenate([reverse, log_weights[:, reverse.shape[1] :]], axis=1)", "log_weights",
        unbiased_inverses,
    ),
    "a lost log K": ("accumulator", "log_sum - math.log(K)", "log_sum", unbiased),
    "no units": ("chains", "lower.add(log_weights - log_jacobian)", "lower.add(log_weights)", units),
    "units the wrong way": (
        "chains", "lower.add(log_weights - log_jacobian)", "lower.add(log_weights + log_jacobian)", units,
    ),
    "data of another example": (
        "densities", "[:] = data[name][:, None]", "[:] = np.roll(data[name], 1, axis=0)[:, None]", units,
    ),
    "noise of another row": ("hmc", "self._first_row, out)", "0, out)", NOISE),
    "a condition of another example": (
        "annealed", "condition[np.arange(n_simulated) % len(condition)]", "condition[np.arange(n_simulated) * 0]",
        a_condition,
    ),
}  # fmt: skip


@pytest.fixture
def modules(monkeypatch):
    """What puts a fault into one module, and has those that import from it do so again; all is undone at the end."""

    def put(name, old, new):
        assert SOURCES[name].count(old) >= 1, f"{name}.py has no {old!r}: the mutant is out of date"
        for other, module in MODULES.items():
            source = SOURCES[other].replace(old, new) if other == name else SOURCES[other]
            exec(compile(source, module.__file__, "exec"), vars(module))
        for tests in (test_annealed, test_annealed_models, test_hmc):
            for variable, value in list(vars(tests).items()):
                home = MODULES.get(getattr(value, "__module__", None) and value.__module__.rsplit(".", 1)[-1])
                if home is not None and value.__module__.startswith("fastvae.evaluation"):
                    monkeypatch.setattr(tests, variable, getattr(home, variable))

    before = {name: dict(vars(module)) for name, module in MODULES.items()}
    yield put
    for name, module in MODULES.items():
        vars(module).clear()
        vars(module).update(before[name])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_is_noticed(mutant, modules):
    name, old, new, notices = MUTANTS[mutant]
    modules(name, old, new)
    with pytest.raises(AssertionError):
        notices()


@pytest.mark.parametrize(
    "notices", sorted({notices for *_, notices in MUTANTS.values()}, key=lambda test: test.__name__)
)
def test_without_a_fault_nothing_is_noticed(notices, modules):
    """Putting the modules in again is no fault."""
    modules("hmc", "", "")
    notices()
