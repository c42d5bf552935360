"""What estimators share whose data have a likelihood: it says which data it takes, and which scaling suits."""

from typing import Any

from fastvae.errors import check_name
from fastvae.likelihoods import LIKELIHOODS
from fastvae.models.saving import SavedEstimator


class LikelihoodEstimator(SavedEstimator):
    """An estimator with an argument `likelihood`, whose network has a `likelihood`."""

    likelihood: str

    def _suited_scale(self) -> Any:
        check_name("likelihood", self.likelihood, tuple(LIKELIHOODS))
        return LIKELIHOODS[self.likelihood].SCALING

    def _fills_unit_range(self, network: Any) -> bool:
        return network.likelihood.SUPPORT == (0, 1)

    def _looks_at_all(self, network: Any) -> bool:
        return network.likelihood.WHOLE

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        network.likelihood.check(X, found, scaled, name, self._scale())
