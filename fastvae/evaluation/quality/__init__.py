"""How good samples are, without a foreign network: `panel` has every figure beside the same figure of real data."""

from fastvae.evaluation.quality.comparison import panel
from fastvae.evaluation.quality.measure import Measure, table

__all__ = ["Measure", "panel", "table"]
