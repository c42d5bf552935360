"""What estimators share whose data have a likelihood: it says which data it takes, and which scaling suits."""

from typing import Any, ClassVar

from fastvae.data.scaling import check_unit_range
from fastvae.errors import check_name
from fastvae.likelihoods import LIKELIHOODS
from fastvae.models.saving import SavedEstimator


class LikelihoodEstimator(SavedEstimator):
    """An estimator with a `likelihood`, by most an argument, whose network has a `likelihood`.

    Attributes
    ----------
    SETTINGS
        Where no argument says `likelihood`: what wants rows in [0, 1], and what to use for others.
    """

    SETTINGS: ClassVar[tuple[str, str] | None] = None
    likelihood: str

    def _check_weighted(self) -> None:
        if getattr(self, "sigma", None) == "optimal":
            raise ValueError(
                "sample_weight goes with no sigma='optimal', which is the best one of rows that count alike: use "
                "sigma='learned'"
            )

    def _suited_scale(self) -> Any:
        check_name("likelihood", self.likelihood, tuple(LIKELIHOODS))
        return LIKELIHOODS[self.likelihood].SCALING

    def _fills_unit_range(self, network: Any) -> bool:
        return network.likelihood.SUPPORT == (0, 1)

    def _looks_at_all(self, network: Any) -> bool:
        return network.likelihood.WHOLE

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        (smallest, largest), (offset, scale) = found, scaled
        if self.SETTINGS is not None and self._fills_unit_range(network):
            check_unit_range(smallest, largest, offset, scale, name, self._scale(), self.SETTINGS)
        else:
            network.likelihood.check(X, found, scaled, name, self._scale())
