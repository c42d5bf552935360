"""The scalar maths of tables whose columns are of several kinds, each with a likelihood of its own; as `formulas`.

A column has one output of the decoder, a category as many as it has levels; and a parameter theta: log sigma of a
Gaussian, the logarithm of the size r of a negative binomial, of others nothing.
"""

from fastvae.kernels.formulas import (
    HALF,
    HALF_LOG_TWO_PI,
    LOG_RATE_HIGHEST,
    ONE,
    TWO,
    ZERO,
    bernoulli_term,
    exp,
    exp_tail,
    f32,
    formula,
    log,
    log1p_unit,
    log_factorial_excess,
    log_gamma,
    log_one_plus,
    log_parts,
    one_minus_exp_minus,
    poisson_term,
    squared_error_term,
    stirling_remainder,
)

# Kinds of columns, by the number that kernels are given.
GAUSSIAN, POISSON, NEGATIVE_BINOMIAL, BERNOULLI, CONTINUOUS_BERNOULLI, CATEGORICAL = range(6)
KINDS = {
    "gaussian": GAUSSIAN,
    "poisson": POISSON,
    "negative_binomial": NEGATIVE_BINOMIAL,
    "bernoulli": BERNOULLI,
    "continuous_bernoulli": CONTINUOUS_BERNOULLI,
    "categorical": CATEGORICAL,
}

LOG_SIZE_LOWEST, LOG_SIZE_HIGHEST = f32(-9.0), f32(12.0)  # of a negative binomial: beyond it is as good as Poisson's
NEAR_EVEN = f32(0.5)  # logits of a continuous Bernoulli below which its normaliser is a series
C1, C2, C3, C4 = f32(1 / 24), f32(-1 / 2880), f32(1 / 181440), f32(-1 / 9676800)
D0, D1, D2, D3 = f32(1 / 12), f32(-1 / 720), f32(1 / 30240), f32(-1 / 1209600)
B1, B2, B3, B4 = f32(-1 / 12), f32(1 / 120), f32(-1 / 252), f32(1 / 240)  # of the digamma function


@formula
def gaussian_terms(x, a, log_sigma):
    """(nll, its slope by the mean a, by log sigma): r^2 / 2 + log sigma + log(2 pi) / 2, r / sigma, 1 - r^2, with
    r = (a - x) / sigma."""
    inverse = exp(-log_sigma)
    square, r = squared_error_term(x, a, inverse)
    return HALF * square + (log_sigma + HALF_LOG_TWO_PI), r * inverse, ONE - square


@formula
def continuous_bernoulli_rest(a):
    """1 - the mean of a continuous Bernoulli of logit |a|: t = 1 / y - 1 / (e^y - 1) with y = |a|, near 0 a series."""
    y = abs(a)
    q, near = y * y, y < NEAR_EVEN
    safe = NEAR_EVEN if near else y
    far = ONE / safe - exp(-safe) / one_minus_exp_minus(safe)
    return HALF - y * (D0 + q * (D1 + q * (D2 + q * D3))) if near else far


@formula
def continuous_bernoulli_mean(a):
    """1 / (1 - e^-a) - 1 / a, of the density a e^(x a) / (e^a - 1) on [0, 1]."""
    rest = continuous_bernoulli_rest(a)
    return rest if a < ZERO else ONE - rest


@formula
def continuous_bernoulli_term(x, a):
    """(log((e^a - 1) / a) - x a, its slope by a): a density on [0, 1]; Loaiza-Ganem and Cunningham 2019.

    With y = |a|: log((1 - e^-y) / y) - x a for a < 0, else (1 - x) a in the place of -x a; near 0 by the series of the
    logarithm. The mean is 1 - t, for a < 0 t, with t of `continuous_bernoulli_rest`.
    """
    y, negative = abs(a), a < ZERO
    q, near = y * y, y < NEAR_EVEN
    safe = NEAR_EVEN if near else y
    series = q * (C1 + q * (C2 + q * (C3 + q * C4))) - HALF * y
    log_norm = series if near else log(one_minus_exp_minus(safe) / safe)
    tail = continuous_bernoulli_rest(a)
    linear = -x * a if negative else (ONE - x) * a
    return log_norm + linear, (tail - x if negative else (ONE - x) - tail)


@formula
def log_of_quotient(p, q, difference):
    """log(p / q) of positive numbers with `difference` = p - q at hand: without cancellation where they are near."""
    ratio = p / q
    t = difference / q
    near = log1p_unit(t) if t >= ZERO else -log1p_unit(-difference / p)
    return near if ratio >= HALF and ratio <= TWO else log(ratio)


@formula
def gamma_remainder(y):
    """log Gamma(y) - ((y - 1/2) log y - y + log(2 pi) / 2), for y > 0."""
    safe = y if y < f32(1.5) else f32(1.5)
    direct = log_gamma(safe) - ((safe - HALF) * log(safe) - safe + HALF_LOG_TWO_PI)
    return direct if y < f32(1.5) else stirling_remainder(y)


@formula
def digamma_series(y):
    """digamma(y) - log y + 1 / (2 y), for y >= 4."""
    v = ONE / (y * y)
    return v * (B1 + v * (B2 + v * (B3 + v * B4)))


@formula
def digamma_remainder(y):
    """digamma(y) - log y + 1 / (2 y), for y > 0: below 4 by digamma(y + 4)."""
    up = y + f32(4.0)
    terms = ONE / y + ONE / (y + ONE) + (ONE / (y + f32(2.0)) + ONE / (y + f32(3.0)))
    shifted = (digamma_series(up) - HALF / up) - (terms - HALF / y) + (log(up) - log(y))
    return shifted if y < f32(4.0) else digamma_series(y)


@formula
def limited_log_size(log_r):
    """The logarithm of a negative binomial's size, within its limits."""
    above = LOG_SIZE_LOWEST if log_r < LOG_SIZE_LOWEST else log_r
    return LOG_SIZE_HIGHEST if above > LOG_SIZE_HIGHEST else above


@formula
def negative_binomial_terms(x, a, log_r):
    """(nll, its slope by a, by log r) of the count x, of mean m = e^a and variance m + m^2 / r:

        log Gamma(r) - log Gamma(x + r) + log x! + (x + r) log(r + m) - r log r - x a

    Written around the mean that is best for x, as the Poisson's term is: log Gamma is its Stirling formula and a
    remainder R, whose large parts cancel:

        x (log x - a) + (x + r) log((r + m) / (r + x)) + log((x + r) / r) / 2 + R(r) - R(x + r) + log x! - x log x + x

    The slopes are r (m - x) / (r + m), and r [log((r + m) / (r + x)) + (x - m) / (r + m) + 1 / (2 (x + r)) - 1 / (2 r)
    + Q(r) - Q(x + r)], Q the remainder of digamma. Above a = 30 the value goes on as its tangent; a log r beyond its
    limits has no slope. Near d = a - log x = 0 the first two terms are x (e^d - 1 - d) + (x + r) (log(1 + t) - t), with
    t = (m - x) / (r + x), as large parts of them cancel too; elsewhere, where r is less than x, they are
    x (log(1 + r / m) - log(1 + r / x)) + r log((r + m) / (r + x)).
    """
    limited = LOG_RATE_HIGHEST if a > LOG_RATE_HIGHEST else a
    size = limited_log_size(log_r)
    m, r = exp(limited), exp(size)
    high, low = log_parts(x)
    d = (limited - high) - low  # of no effect where x is 0
    close = abs(d) < f32(0.34) and x > ZERO
    tail = d * d * exp_tail(d)
    excess = x * (d + tail) if close else m - x
    ends, own = x + r, r + m
    quotient = log_of_quotient(own, ends, excess)
    slope = r * (excess / own)
    rest = gamma_remainder(r) - gamma_remainder(ends) if x > ZERO else x - x
    small = r < x and not close
    here = log1p_unit(r / m) if m >= r else log(own) - limited
    apart = x * (here - log1p_unit(r / x)) + r * quotient if small else ends * quotient - x * d
    away = x * tail + ends * (quotient - excess / ends) if close else apart
    value = away + HALF * log(ends / r) + rest + log_factorial_excess(x, high + low)
    halves = HALF / ends - HALF / r + digamma_remainder(r) - digamma_remainder(ends) if x > ZERO else x - x
    d_size = r * ((quotient - excess / own) + halves)
    beyond = log_r < LOG_SIZE_LOWEST or log_r > LOG_SIZE_HIGHEST
    return value + slope * (a - limited), slope, ZERO if beyond else d_size


@formula
def column_terms(kind, x, a, theta):
    """(nll, its slope by the output a, by theta) of a value of a column that is no category."""
    if kind == GAUSSIAN:
        return gaussian_terms(x, a, theta)
    if kind == NEGATIVE_BINOMIAL:
        return negative_binomial_terms(x, a, theta)
    if kind == POISSON:
        value, slope = poisson_term(x, a)
    elif kind == BERNOULLI:
        value, slope = bernoulli_term(x, a)
    else:
        value, slope = continuous_bernoulli_term(x, a)
    return value, slope, ZERO


@formula
def seen_value(kind, x, centre, inverse):
    """(x - centre) inverse, as an encoder is given it; of counts log(1 + x) in the place of x."""
    counted = log_one_plus(x)
    value = counted if kind == POISSON else x
    return ((counted if kind == NEGATIVE_BINOMIAL else value) - centre) * inverse
