"""The scalar maths, written once: float32 in, float32 out, for every backend.

The functions are plain arithmetic without calls into a maths library, so that the compiler vectorises the loops that
use them; `numba.cuda` compiles the same functions for the device. Constants are `numpy.float32`, because a bare
literal would promote the arithmetic to float64. Comparisons are written so that NaN passes through: a NaN that entered
must come out, or a diverged run would look healthy.

Polynomials are minimax fits (iteratively reweighted least squares in float64, in the variable that the code names).
Largest errors against float64, measured by `tests/kernels/test_formulas.py` over the whole range of float32, stand with
each.
"""

import math

import numpy as np
from numba import njit

# Inlined in any case: one that LLVM leaves as a call keeps the loop around it from vectorising (measured: 6 times).
formula = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)

f32, i32 = np.float32, np.int32
ZERO, HALF, ONE, TWO = f32(0.0), f32(0.5), f32(1.0), f32(2.0)

LOG2_E = f32(1.44269504)
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)  # ln 2 = HIGH + LOW, HIGH exact in 10 bits
ROUNDS, ROUNDS_BITS = f32(1.5 * 2.0**23), i32(0x4B400000)
EXP_LOWEST, EXP_HIGHEST = f32(-104.0), f32(89.0)  # below: rounds to 0; above: infinity
MANTISSA_BITS, EXPONENT_BIAS, SQRT_HALF_BITS = i32(23), i32(127), i32(0x3F3504F3)

E2, E3, E4, E5, E6 = f32(0.499999935), f32(0.166665207), f32(0.0416683874), f32(0.00836871004), f32(0.0013814611)
P1, P2, P3, P4, P5 = f32(0.666666756), f32(0.399988777), f32(0.286168849), f32(0.214276569), f32(0.243009381)
L1, L2, L3 = f32(0.666667764), f32(0.399775371), f32(0.298718572)
T1, T2, T3, T4, T5 = f32(-0.333332839), f32(0.133314912), f32(-0.0537434953), f32(0.020650579), f32(-0.00571703656)
M1, M2, M3, M4, M5 = f32(0.499999875), f32(-0.166663088), f32(0.041633246), f32(-0.00819612511), f32(0.00112823156)

G0, G1, G2, G3 = f32(0.450139314), f32(-0.119481668), f32(0.0445205942), f32(-0.0190511979)
G4, G5, G6, G7 = f32(0.00877342187), f32(-0.00425285054), f32(0.00211711554), f32(-0.000957465556)
G8, G9, G10 = f32(0.00047492201), f32(-0.00044943052), f32(0.000247804157)
J1, J2, J3, J4 = f32(0.083333008), f32(-0.00276800548), f32(0.000705301645), f32(-0.000238544657)
HALF_LOG_TWO_PI = f32(0.5 * math.log(2.0 * math.pi))

LEAKY_SLOPE = f32(0.01)
LEAST_M, LEAST_V = f32(2.0**-100), f32(2.0**-120)  # smaller moments of Adam are 0
LEAST_REST = f32(2.0**-50)  # smaller probabilities of what is not there are 0 in the Bernoulli's derivative
LOGVAR_LOWEST, LOGVAR_HIGHEST = f32(-30.0), f32(20.0)
LOG_RATE_HIGHEST = f32(30.0)
LEAST_MEAN, MOST_MEAN = f32(2.0**-20), f32(1.0 - 2.0**-20)  # of a Bernoulli, in a divergence

# Activations, by the number that the kernels are given.
IDENTITY, RELU, LEAKY_RELU, TANH, SIGMOID, SOFTPLUS, SILU = range(7)
ACTIVATIONS = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "softplus": SOFTPLUS,
    "silu": SILU,
}


# ---- elementary functions ---------------------------------------------------------------------------------------


@formula
def power_of_two(k):
    """2^k for -126 <= k <= 127, by writing the exponent bits."""
    return i32((k + EXPONENT_BIAS) << MANTISSA_BITS).view(np.float32)


@formula
def exp_tail(r):
    """(e^r - 1 - r) / r^2 for |r| <= ln 2 / 2."""
    return E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))


@formula
def exp(x):
    """e^x; at most 2 ulp, gradual underflow and infinity included. x = k ln 2 + r, |r| <= ln 2 / 2."""
    x = EXP_LOWEST if x < EXP_LOWEST else (EXP_HIGHEST if x > EXP_HIGHEST else x)
    y = x * LOG2_E + ROUNDS  # too large for a fraction: what is lost rounds to the nearest whole number
    whole, k = y - ROUNDS, i32(f32(y).view(np.int32) - ROUNDS_BITS)
    r = x - whole * LN2_HIGH - whole * LN2_LOW
    p = ONE + (r + r * r * exp_tail(r))
    half = i32(k >> i32(1))  # in two factors, so that neither leaves the range of the exponent
    return p * power_of_two(half) * power_of_two(i32(k - half))


@formula
def log_parts(x):
    """Two numbers that add up to ln x, for normal x > 0: the first has few bits, the second is below 0.38 in size.

    x = 2^e m with m in [sqrt 1/2, sqrt 2); ln m = 2 atanh((m-1)/(m+1)).
    """
    bits = f32(x).view(np.int32)
    e = i32((bits - SQRT_HALF_BITS) >> MANTISSA_BITS)
    m = i32(bits - i32(e << MANTISSA_BITS)).view(np.float32)
    s = (m - ONE) / (m + ONE)
    q = s * s
    return f32(e) * LN2_HIGH, s * (TWO + q * (L1 + q * (L2 + q * L3))) + f32(e) * LN2_LOW


@formula
def log(x):
    """ln x for normal x > 0; at most 3 ulp."""
    high, low = log_parts(x)
    return high + low


@formula
def log_one_plus(x):
    """ln(1 + x) for whole numbers x >= 0; at most 3 ulp there, where 1 + x loses nothing up to 2^24. Infinity gives
    NaN."""
    return log(ONE + x) + (x - x)


@formula
def log_of_mean(total, count):
    """ln(total / count) of a sum of numbers, normal and > 0; NaN stays NaN, which `log` does not know."""
    mean = total / count
    return log(mean) + (mean - mean)


@formula
def log1p_unit(u):
    """ln(1 + u) for u in [0, 1]; at most 3 ulp. = 2 atanh(u / (2 + u))."""
    s = u / (TWO + u)
    q = s * s
    return s * (TWO + q * (P1 + q * (P2 + q * (P3 + q * (P4 + q * P5)))))


@formula
def one_minus_exp_minus(y):
    """1 - e^-y for y >= 0; at most 4 ulp. Near 0 by its series, where the difference would cancel."""
    near = y * (ONE - y * (M1 + y * (M2 + y * (M3 + y * (M4 + y * M5)))))
    return near if y < HALF else ONE - exp(-y)


@formula
def log_gamma_quotient(y):
    """ln Gamma(y) / ((y - 1) (y - 2)) for 1 <= y <= 5/2: positive, without the zeros."""
    t = y - f32(1.75)
    p = G5 + t * (G6 + t * (G7 + t * (G8 + t * (G9 + t * G10))))
    return G0 + t * (G1 + t * (G2 + t * (G3 + t * (G4 + t * p))))


@formula
def stirling_remainder(x):
    """ln Gamma(x) - ((x - 1/2) ln x - x + ln(2 pi) / 2) for x >= 3/2: about 1 / (12 x)."""
    v = ONE / x
    u = v * v
    return v * (J1 + u * (J2 + u * (J3 + u * J4)))


@formula
def log_gamma(x):
    """ln Gamma(x) for normal x > 0; at most 6 ulp, also next to its zeros, 1 and 2. ln n! = log_gamma(n + 1).

    Between 1 and 5/2 by a polynomial, below 1 with Gamma(x) = Gamma(x + 1) / x, beyond 5/2 by Stirling's formula.
    """
    high, low = log_parts(x)
    shifted = x < ONE
    quotient = log_gamma_quotient(x + ONE if shifted else x)
    near = (x - ONE) * ((x if shifted else x - TWO) * quotient) + (-(high + low) if shifted else ZERO)
    far = (x - HALF) * ((high - ONE) + low) + ((HALF_LOG_TWO_PI - HALF) + stirling_remainder(x))
    return near if x < f32(2.5) else far


# ---- activations and their derivatives --------------------------------------------------------------------------


@formula
def relu(a):
    """max(a, 0)."""
    return ZERO if a < ZERO else a


@formula
def leaky_relu(a):
    """a where a > 0, else a / 100."""
    return a * LEAKY_SLOPE if a < ZERO else a


@formula
def tanh(a):
    """Hyperbolic tangent; at most 3 ulp. An odd polynomial up to 5/8, then 1 - 2 / (e^2|a| + 1)."""
    size = abs(a)
    q = a * a
    near = a + a * q * (T1 + q * (T2 + q * (T3 + q * (T4 + q * T5))))
    far = ONE - TWO / (exp(TWO * size) + ONE)
    return near if size < f32(0.625) else (-far if a < ZERO else far)


@formula
def exp_and_sigmoid(a):
    """(e, s) with e = e^-|a| and s = sigmoid(|a|); then sigmoid(-|a|) = 1 - s = e s, without cancellation."""
    e = exp(-abs(a))
    return e, ONE / (ONE + e)


@formula
def softplus_and_sigmoid(a):
    """(ln(1 + e^a), 1 / (1 + e^-a)) from one exponential of -|a|: at most 4 ulp each, no overflow for any a."""
    e, s = exp_and_sigmoid(a)
    return relu(a) + log1p_unit(e), (e * s if a < ZERO else s)


@formula
def sigmoid(a):
    """1 / (1 + e^-a); at most 4 ulp."""
    return softplus_and_sigmoid(a)[1]


@formula
def softplus(a):
    """ln(1 + e^a); at most 4 ulp."""
    return softplus_and_sigmoid(a)[0]


@formula
def silu(a):
    """a / (1 + e^-a); at most 5 ulp for a > -87; below, where the sigmoid is denormal, 1e-43 absolute."""
    return a * sigmoid(a)


@formula
def d_relu(y):
    """Derivative of relu, from its value."""
    return ONE if y > ZERO else (ZERO if y <= ZERO else y)


@formula
def d_leaky_relu(y):
    """Derivative of leaky_relu, from its value."""
    return ONE if y > ZERO else (LEAKY_SLOPE if y <= ZERO else y)


@formula
def d_tanh(y):
    """1 - y^2, from y = tanh(a)."""
    return (ONE - y) * (ONE + y)


@formula
def d_sigmoid(y):
    """y (1 - y), from y = sigmoid(a)."""
    return y * (ONE - y)


@formula
def d_softplus(y):
    """sigmoid(a) = 1 - e^-y, from y = softplus(a)."""
    return one_minus_exp_minus(y)


@formula
def d_silu(a):
    """s + a s (1 - s) with s = sigmoid(a), from a itself: silu is not monotone, its value does not tell a."""
    e, larger = exp_and_sigmoid(a)
    smaller = e * larger
    return (smaller if a < ZERO else larger) + a * (larger * smaller)


# ---- the latent layer -------------------------------------------------------------------------------------------


@formula
def limited_logvar(logvar):
    """Log-variance limited to [-30, 20]."""
    return LOGVAR_LOWEST if logvar < LOGVAR_LOWEST else (LOGVAR_HIGHEST if logvar > LOGVAR_HIGHEST else logvar)


@formula
def kl_term(mu, logvar):
    """1/2 (exp(logvar) + mu^2 - 1 - logvar): one term of KL[N(mu, exp(logvar)) || N(0, 1)], in nats.

    Near logvar 0 the difference exp(logvar) - 1 - logvar cancels; there its series keeps the precision: 16 ulp at most.
    """
    series = logvar * logvar * exp_tail(logvar)
    excess = series if abs(logvar) < f32(0.34) else exp(logvar) - ONE - logvar
    return HALF * (mu * mu + excess)


@formula
def d_kl_logvar(logvar, variance):
    """(exp(logvar) - 1) / 2, with variance = exp(logvar) at hand."""
    series = logvar + logvar * logvar * exp_tail(logvar)
    return HALF * (series if abs(logvar) < f32(0.34) else variance - ONE)


@formula
def free_part(total, count, least):
    """(counts, lacks) of a latent dimension whose KLs of `count` examples add up to `total`: 1 where their mean is
    above `least`, else 0; and by how much the sum is below `count` times `least`, from 0."""
    lacks = count * least - total
    return ZERO if lacks >= ZERO else ONE, relu(lacks)


@formula
def latent_terms(mu, logvar, eps):
    """(z, kl) of one place: z = mu + exp(logvar / 2) eps, logvar limited before use."""
    limited = limited_logvar(logvar)
    return mu + exp(HALF * limited) * eps, kl_term(mu, limited)


@formula
def latent_sample(mu, logvar, eps):
    """(z, r) of one place: z = mu + exp(logvar / 2) eps, and r = log N(z; 0, 1) - log N(z; mu, exp(logvar)), which is
    (eps^2 - z^2 + logvar) / 2, with the difference of squares as a product. logvar is limited before use."""
    limited = limited_logvar(logvar)
    z = mu + exp(HALF * limited) * eps
    return z, HALF * ((eps - z) * (eps + z) + limited)


@formula
def sample_gradients(mu, logvar, d_z, eps, weight, share, doubly):
    """(d_mu, d_logvar) by one sample of one place, from d_z and from `weight` times -r of `latent_sample`.

    With g = d_z + weight z: g, and (g eps sigma - weight) / 2. `doubly` leaves out what does not go through z, with
    g = share (d_z + weight (z - eps / sigma)): g, and g eps sigma / 2.
    """
    deviation = exp(HALF * limited_logvar(logvar))
    z = mu + deviation * eps
    lead = z - eps / deviation if doubly else z
    g = d_z + weight * lead
    g = share * g if doubly else g
    return g, HALF * (g * eps * deviation - (ZERO if doubly else weight))


@formula
def with_kl_gradients(mu, logvar, d_mu, d_logvar, weight):
    """(d_mu, d_logvar) of one place and those of `weight` times the KL; d_logvar is 0 where logvar was limited."""
    limited = limited_logvar(logvar)
    slope = d_logvar + weight * d_kl_logvar(limited, exp(limited))
    return d_mu + weight * mu, ZERO if logvar < LOGVAR_LOWEST or logvar > LOGVAR_HIGHEST else slope


@formula
def latent_gradients(mu, logvar, d_z, eps, weight):
    """(d_mu, d_logvar) of one place; d_logvar is 0 where logvar was limited."""
    limited = limited_logvar(logvar)
    deviation = exp(HALF * limited)
    slope = HALF * d_z * eps * deviation + weight * d_kl_logvar(limited, deviation * deviation)
    return d_z + weight * mu, ZERO if logvar < LOGVAR_LOWEST or logvar > LOGVAR_HIGHEST else slope


# ---- Adam -------------------------------------------------------------------------------------------------------


@formula
def adam_moved(param, grad, m, v, scale, chosen):
    """(param, m, v) after one step, with the numbers of `chosen`: rate, correction, 1 - beta1, beta2, 1 - beta2, decay,
    epsilon; the bias corrections are in the first two.

    No sum here has two products: which of them were fused would be the compiler's choice, and might differ between the
    vectors and the rest of an array; results would depend on where it is cut among threads.

    Moments of a parameter without gradients, a dead unit's say, decay towards 0 and would stay among the denormal
    numbers for ever, where a processor may take a hundred times as long (measured: a small step took 140 us, not 55).
    So what is too small to move a parameter is 0: |m| < 2^-100, v < 2^-120.
    """
    rate, correction, new1, keep2, new2, decay, tiny = chosen
    g = grad * scale
    first = m + new1 * (g - m)
    first = ZERO if abs(first) < LEAST_M else first
    second = keep2 * v + relu(new2 * g * g)  # relu changes nothing, but keeps the two products apart
    second = ZERO if second < LEAST_V else second
    return param - (rate * first / (math.sqrt(second) * correction + tiny) + decay * param), first, second


@formula
def sgd_moved(param, grad, velocity, scale, rate, momentum, ahead, decay):
    """(param, velocity) after one step of gradient descent with momentum; where `ahead` is above 0, Nesterov's. As for
    Adam, no sum has two products: the parts of g above and below 0 keep the first of them apart."""
    g = relu(grad * scale) - relu(-(grad * scale))
    new = momentum * velocity + g
    direction = ahead * new + g if ahead > ZERO else new
    return param - rate * (direction + decay * param), new


@formula
def averaged(average, param, share):
    """A running average that has moved by `share` towards `param`; with 1, it is that."""
    return param if share == ONE else average + share * (param - average)


# ---- a sigma that is not fixed: few numbers a batch -------------------------------------------------------------
# By the maths library, and of the type that comes in: the host calls them (`py_func`) with float64, kernels with
# float32. Constants that float32 does not hold exactly are passed.

LEAST_ABOVE = 1e-3  # by which a log sigma that is set lies above its lowest
SIGMA_RATE = 10.0  # a learned log sigma moves by so many learning rates a step
MEMORY = 0.9  # of the running mean behind an optimal sigma, a step: about the last ten batches count


@formula
def soft_log_sigma(parameter, lowest):
    """log sigma = lowest + softplus(parameter - lowest): it cannot fall below `lowest`."""
    x = parameter - lowest
    above = x if x > ZERO else x - x
    return lowest + (above + math.log1p(math.exp(-abs(x))))


@formula
def soft_slope(parameter, lowest):
    """d log sigma / d parameter."""
    x = parameter - lowest
    small = math.exp(-abs(x))
    return (ONE if x > ZERO else small) / (ONE + small)


@formula
def soft_parameter(log_sigma, lowest, least):
    """The parameter of a log sigma, which is taken to be at least `least` above the lowest."""
    above = log_sigma - lowest
    above = least if above < least else above
    return above + math.log(-math.expm1(-above)) + lowest


@formula
def log_sigma_gradient(squares, count, weight, inverse):
    """`weight` times the sum of nll differentiated by log sigma, from the sum of squares of `count` numbers of d_xhat,
    each weight (xhat - x) / sigma^2."""
    made = weight * inverse
    return weight * (count - squares / made / made)


@formula
def log_sigma_of_squares(total, count, lowest):
    """log of the root mean square of `count` numbers, from the sum of their squares; at least `lowest`."""
    log_sigma = lowest if total == ZERO else HALF * math.log(total / count)
    return lowest if log_sigma < lowest else log_sigma


@formula
def remembered_log_sigma(old, seen, step, share, new_share):
    """log sigma after a step, from 1: sigma^2 is a running mean over batches, each `share` of a whole one."""
    first = ONE / step
    new = ONE if step == ONE else share * (new_share if first < new_share else first)
    return HALF * math.log((ONE - new) * math.exp(TWO * old) + new * math.exp(TWO * seen))


# ---- likelihoods ------------------------------------------------------------------------------------------------


@formula
def bernoulli_term(x, a):
    """(softplus(a) - x a, sigmoid(a) - x): one term of the Bernoulli nll at logit a, and its derivative.

    Written as x softplus(-a) + (1 - x) softplus(a) where that is the smaller rounding: for x = 1 and a large positive
    logit, softplus(a) - a would cancel. With l = ln(1 + e^-|a|) both are l + max(a, 0) - x a, and max(a, 0) - x a is
    exactly (1 - x) a for a >= 0 and -x a below.

    In the derivative a probability below 2^-50 of what is not there is 0. Logits of a pixel that never changes would
    else fall without end, by Adam's steps, which do not shrink with the gradient; and the gradients of layers behind it
    would be denormal numbers (measured, of MADE-2000 on MNIST: a step took five times as long).
    """
    e, s = exp_and_sigmoid(a)
    negative = a < ZERO
    linear = -x * a if negative else (ONE - x) * a
    rest = e * s
    rest = ZERO if rest < LEAST_REST else rest
    return log1p_unit(e) + linear, (rest - x if negative else (ONE - x) - rest)


@formula
def divergence_term(x, mean):
    """(KL[Bernoulli(x) || Bernoulli(mean)], its derivative by `mean`), for 0 < x < 1; the mean is kept from 0 and 1, so
    that both are finite and lead back. Errors: 2^-22 of the value, beside 3 ulp of its larger part."""
    m = LEAST_MEAN if mean < LEAST_MEAN else (MOST_MEAN if mean > MOST_MEAN else mean)
    value = x * log(x / m) + (ONE - x) * log((ONE - x) / (ONE - m))
    return value + (m - m) + (x - x), (m - x) / (m * (ONE - m))


@formula
def squared_error_term(x, xhat, inverse):
    """(r^2, r) with r = (xhat - x) / sigma, `inverse` being 1 / sigma."""
    r = (xhat - x) * inverse
    return r * r, r


@formula
def log_factorial_excess(x, log_x):
    """ln x! - x ln x + x for x >= 0, with `log_x` = ln x at hand: 0 at 0; far out about ln(2 pi x) / 2."""
    near = x * ((x - ONE) * log_gamma_quotient(x + ONE) + (ONE - log_x))
    far = HALF * log_x + (HALF_LOG_TWO_PI + stirling_remainder(x))
    return near if x < f32(1.5) else far


@formula
def poisson_term(x, a):
    """(e^a - x a + ln x!, e^a - x): one term of the Poisson nll of the count x at log rate a, and its derivative.

    Written around the rate that is best for x, as x (e^d - 1 - d) + (ln x! - x ln x + x) with d = a - ln x: for large
    counts e^a, x a and ln x! are much larger than what remains of them. Near d = 0 by the series. Errors of the value:
    at most 24 ulp for counts up to 10^6, beyond less than rounding a makes; of the derivative: 2.5 * 2^-24 (x + e^a).

    Above a = 30, a rate of 10^13, e^a goes on as its tangent: neither the value nor the square of the derivative
    overflows, and the derivative, e^30 - x, still leads back.
    """
    limited = LOG_RATE_HIGHEST if a > LOG_RATE_HIGHEST else a
    rate = exp(limited)
    high, low = log_parts(x)
    d = (limited - high) - low  # of no effect where x is 0: ln x is finite here then, and x multiplies it
    close = abs(d) < f32(0.34)
    tail = d * d * exp_tail(d)
    value = (x * tail if close else (rate - x) - x * d) + log_factorial_excess(x, high + low)
    slope = x * (d + tail) if close else rate - x
    return value + slope * (a - limited), slope


# ---- bfloat16 ---------------------------------------------------------------------------------------------------

HALF_BITS, ROUND_UP, ODD_BIT = np.uint32(16), np.uint32(0x7FFF), np.uint32(1)
SIGNLESS, INFINITY_BITS, QUIET = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint32(0x40)


@formula
def bfloat16_bits(x):
    """The 16 bits of x rounded to the nearest bfloat16, to even where two are as near; NaN stays NaN. As uint32."""
    bits = f32(x).view(np.uint32)
    top = np.uint32(bits >> HALF_BITS)
    if np.uint32(bits & SIGNLESS) > INFINITY_BITS:
        return np.uint32(top | QUIET)
    return np.uint32(np.uint32(bits + ROUND_UP + np.uint32(top & ODD_BIT)) >> HALF_BITS)


@formula
def bfloat16(x):
    """x rounded to the nearest bfloat16, as float32."""
    return np.uint32(bfloat16_bits(x) << HALF_BITS).view(np.float32)


@formula
def bfloat16_pair(low, high):
    """Two numbers as bfloat16 in one word, `low` in the lower half."""
    return np.uint32(np.uint32(bfloat16_bits(high) << HALF_BITS) | bfloat16_bits(low))


# ---- Box-Muller -------------------------------------------------------------------------------------------------

S1, S2, S3 = f32(-0.166666549), f32(0.00833217814), f32(-0.000195172979)
C2, C3, C4 = f32(0.0416666469), f32(-0.00138873675), f32(2.44384497e-05)
UNIT = f32(2.0**-32)
HALF_UNIT = f32(2.0**-33)
UNIT_24, BYTE = f32(2.0**-24), np.uint32(8)
ANGLE = f32(2.0 * np.pi * 2.0**-32)
EIGHTH_TURN, QUADRANT_SHIFT = np.uint32(1 << 29), np.uint32(30)


@formula
def uniform(word):
    """A 32-bit word as a float32 in [2^-33, 1]."""
    return f32(word) * UNIT + HALF_UNIT


@formula
def bernoulli_draw(word, probability):
    """1 with the given probability, else 0: never 1 at 0, always at 1 (24 bits of the word, in [0, 1), decide)."""
    return ONE if f32(np.uint32(word >> BYTE)) * UNIT_24 < probability else ZERO


# How inputs are corrupted, by the number that kernels are given.
GAUSSIAN_NOISE, MASKING, SALT_AND_PEPPER, HIDING = range(4)
CORRUPTIONS = {"gaussian": GAUSSIAN_NOISE, "masking": MASKING, "salt_and_pepper": SALT_AND_PEPPER}
ALL_CORRUPTIONS = CORRUPTIONS | {"hiding": HIDING}  # that one also of rows that may lack values
MISSING = f32(np.nan)
LAST_BIT = np.uint32(1)


@formula
def corrupted(x, kind, amount, word, normal):
    """x + amount N(0, 1); or, with probability `amount`, 0 in its place, or 0 or 1 with equal odds, or a missing value:
    by a word of noise and a normal. Vincent et al. 2010."""
    hit = bernoulli_draw(word, amount) == ONE
    end = f32(np.uint32(word & LAST_BIT)) if kind == SALT_AND_PEPPER else ZERO
    end = MISSING if kind == HIDING else end
    return x + amount * normal if kind == GAUSSIAN_NOISE else (end if hit else x)


@formula
def box_muller(word_radius, word_angle):
    """Two independent N(0, 1) from two words: r cos t, r sin t with r = sqrt(-2 ln u), t = 2 pi word / 2^32.

    The angle is reduced to an eighth of a turn in integers, exactly. Source: Box and Muller 1958.
    """
    r = math.sqrt(-TWO * log(uniform(word_radius)))
    quadrant = np.uint32(np.uint32(word_angle + EIGHTH_TURN) >> QUADRANT_SHIFT)
    t = f32(np.int32(np.uint32(word_angle - np.uint32(quadrant << QUADRANT_SHIFT)))) * ANGLE
    q = t * t
    sine = t + t * q * (S1 + q * (S2 + q * S3))
    cosine = ONE - q * (HALF - q * (C2 + q * (C3 + q * C4)))
    swapped = (quadrant & np.uint32(1)) != np.uint32(0)
    x = sine if swapped else cosine
    y = cosine if swapped else sine
    x = -x if ((quadrant + np.uint32(1)) & np.uint32(2)) != np.uint32(0) else x
    y = -y if (quadrant & np.uint32(2)) != np.uint32(0) else y
    return r * x, r * y
