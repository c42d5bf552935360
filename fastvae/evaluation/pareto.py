"""How heavy the tail of importance weights is: Pareto k-hat."""

import math


def threshold(samples: int) -> float:
    """min(1 - 1 / log10 K, 0.7): where the shape of the weights' tail is above it, K of them do not suffice for a
    standard error (Vehtari, Simpson, Gelman, Yao and Gabry 2024, section 3.2.4)."""
    return min(1.0 - 1.0 / math.log10(samples), 0.7) if samples > 1 else -math.inf
