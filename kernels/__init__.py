"""The contract: what every backend's kernels do, once. Pure functions over arrays that know nothing of models.

Shapes: B batch, D data, H outputs of a layer, Z latent, P parameters; where examples have several rows each, B of them
for N. Arrays are float32 and C-contiguous, batch first, unless stated. Everything is in nats, sums run over columns,
nothing is averaged over the batch: the caller passes the weight of an example (1/B for a mean) as `weight` or
`kl_weight`, and every gradient comes out multiplied by it. Inputs come first, then hyper-parameters; the outputs stand
last and are overwritten. An op trusts its caller with the values: nothing is raised, nothing is allocated, and NaN in
gives NaN out. A program that is written checks how many operands there are, and their types and shapes.

The ops stand in the table `fastvae.kernels.ops`, with their operands in this order. A number may be a `Slot` of a
program, which is read when it runs. Each op is a function too, called from Python with numbers and arrays; there the
rows of `read_rows` are an array, `data`, and `outside` and `scale`, which an op leaves in a slot, are returned. Outputs
whose sizes the inputs tell may be left out: they are made, and returned; `check=False` has operands not looked at. On
the CPU these functions may be called in functions of `numba.njit` too, and from C, by `address` and `prototype`.

`seed` is a uint64, `step` and `stream` integers, `first_row` the position of row 0 of this array in the whole batch or
data set: see `fastvae.kernels.philox`.

Dense layer (`activation` a number of `fastvae.kernels.formulas.ACTIVATIONS`)
    dense_forward(x (B, D), weight (D, H), bias (H,), activation, out (B, H), saved (B, H))
        out = activation(x @ weight + bias). `saved` is what the backward needs: `out` itself, except for silu, whose
        derivative cannot be told from its value: there a second array, which gets x @ weight + bias.
    dense_accumulate(x (B, D), weight (D, H), out (B, H))
        out += x @ weight: a linear path beside other layers.
    dense_backward_input(saved (B, H), weight, activation, d_out (B, H), accumulate, d_x (B, D) or None)
        d_a = d_out * activation'(saved), written over d_out; d_x = d_a weight', added to d_x where `accumulate` is 1.
    dense_backward_weight(x, d_a (B, H), first, last, accumulate, d_weight (D, H), d_bias (H,))
        Rows first ... last - 1 of d_weight = x' d_a; with row 0 also d_bias = sum_B d_a. So threads can share a layer.
        Added to what stands there where `accumulate` is 1: the gradient of a weight that is used several times. A layer
        without bias has None in its place, here and below.
    dense_adam_inplace(x, d_a, first, last, weight, m_weight (D, H), v_weight (D, H), bias, m_bias (H,), v_bias (H,),
                       rate, correction, new1, keep2, new2, decay, epsilon)
        The same gradients, and Adam's step with them (see adam_inplace); they are never written to memory as a whole.

Dense layer whose weight is a staircase (`depths` (H,) int64, from 0 to D, which do not decrease): column j of the
weight has its first depths[j] rows. What lies below is 0: in the weight, in its moments, and in a gradient that is
added to. The ops leave it so, and leave out most of what it would cost.
    masked_forward(x (B, D), weight (D, H), bias (H,), activation, depths, out (B, H), saved (B, H))
    masked_accumulate(x (B, D), weight (D, H), depths, out (B, H))
    masked_backward_input(saved (B, H), weight, activation, depths, d_out (B, H), accumulate, d_x (B, D) or None)
    masked_backward_weight(x, d_a (B, H), first, last, accumulate, depths, d_weight (D, H), d_bias (H,))
    masked_adam_inplace(x, d_a, first, last, depths, weight, m_weight (D, H), v_weight (D, H), bias, m_bias (H,),
                        v_bias (H,), rate, correction, new1, keep2, new2, decay, epsilon)
        What the ops of a dense layer do, with such a weight; d_weight is 0 below.

Columns side by side, and in another order
    take_columns(x (B, D), order (D,) int64, out (B, D))
        out[:, j] = x[:, order[j]].
    concatenate(a (B, D), b (N, C), out (B, D + C))
        out[i] = a[i], then b[i // K], where B = N K: row i K + k of a is the k-th that goes with row i of b.
    concatenate_backward(d_out (B, E), d_a (B, D))
        d_a = the first D columns of d_out: what b's gradient would be is left out.

Units that a row's columns move one after the other (x of 0 and 1: any other number counts as 1; `carried` (B, K) holds
their arguments a at the beginning of each `fastvae.kernels.ops.CHUNK` columns, K = H for each of these)
    prefix_forward(x (B, D), weight (D, H), bias (H,), output_weight (D, H), output_bias (D,), carried, logits (B, D))
        a_1 = bias;  h_d = sigmoid(a_d);  logits_d = output_bias_d + output_weight_d . h_d;  a_{d+1} = a_d + x_d
        weight_d. Larochelle and Murray 2011.
    prefix_backward(x, weight, output_weight, carried, d_logits (B, D), first, last, accumulate, d_weight (D, H),
                    d_bias (H,), d_output_weight (D, H), d_output_bias (D,))
        The gradients of units first ... last - 1, and with unit 0 that of output_bias; added to what stands there where
        `accumulate` is 1. With g_d = d_logits_d output_weight_d h_d (1 - h_d), each summed over the rows: d_weight_d =
        x_d sum_{j>d} g_j;  d_bias = sum_d g_d;  d_output_weight_d = d_logits_d h_d;  d_output_bias = d_logits. A
        d_logits below 2^-100 in size may count as 0. Threads can share the units, without a change of bits at multiples
        of `fastvae.kernels.ops.LANES`.

Latent layer (`noise` (B, Z), or None: N(0, 1) drawn from (seed, stream, step, first_row + row, column))
    latent_forward(mu (B, Z), logvar (B, Z), noise, seed, stream, step, first_row, z (B, Z), kl (B,))
        z = mu + exp(logvar / 2) noise;  kl = 1/2 sum_Z (exp(logvar) + mu^2 - 1 - logvar).
        logvar is limited to [-30, 20] before use. Kingma and Welling 2014, appendix B.
    latent_backward(mu, logvar, d_z (B, Z), noise, seed, stream, step, first_row, kl_weight, d_mu (B, Z),
                    d_logvar (B, Z))
        d_mu = d_z + kl_weight mu;  d_logvar = d_z noise exp(logvar / 2) / 2 + kl_weight (exp(logvar) - 1) / 2,
        which is 0 where logvar was limited.

Several samples of z an example: of N examples K each, B = N K rows, of which row i K + k is sample k of example i
(`noise` (B, Z), or None: N(0, 1) drawn from (seed, stream, first_sample + k, first_row + i, column), so that it does
not matter how examples or samples are cut into pieces)
    latent_samples_forward(mu (N, Z), logvar (N, Z), noise, seed, stream, first_sample, first_row, z (B, Z),
                           log_ratio (B,))
        z = mu + exp(logvar / 2) noise;  log_ratio = log p(z) - log q(z|x) = 1/2 sum_Z (noise^2 - z^2 + logvar), with
        p(z) = N(0, I). logvar is limited as above.
    importance_weights(log_ratio (B,), nll (B,), weight, bound (N,), weights (B,))
        With log w = log_ratio - nll: bound = -log 1/K sum_k w_k, and weights = weight w_k / sum_j w_j. Burda, Grosse
        and Salakhutdinov 2016.
    latent_samples_backward(mu, logvar, d_z (B, Z), noise, seed, stream, first_sample, first_row, weights (B,) or None,
                            doubly, kl_weight, counted (Z,) or None, d_mu (N, Z), d_logvar (N, Z))
        With a_k = weights (0 where there are none), g_k = d_z + a_k z and s = exp(logvar / 2): d_mu = sum_k g_k;
        d_logvar = sum_k (g_k noise s - a_k) / 2: what d_z comes from, and a_k times -log_ratio. Where `doubly` is 1:
        g_k = a_k / (sum_j a_j) (d_z + a_k (z - noise / s)), and d_logvar = sum_k g_k noise s / 2. Tucker, Lawson, Gu
        and Maddison 2019. To both are added those of `kl_weight` times the KL, see `latent_backward`, times `counted`.
        d_logvar is 0 where logvar was limited.
    kl_forward(mu (B, Z), logvar (B, Z), kl (B,))
        kl as `latent_forward` has it.
    free_bits(mu (B, Z), logvar (B, Z), least, counted (Z,), lacking (Z,))
        counted = 1 where the mean over the batch of a dimension's KL is above `least`, else 0; lacking = max(0, B least
        - the sum of its KLs). Kingma et al. 2016.
    scale_rows_inplace(scale (B,), x (B, D))
        x = scale x.

Likelihoods (of N rows of x beside B = N K rows of output, of which rows i K ... i K + K - 1 belong to row i of x)
    squared_error_forward(x (N, D), xhat (B, D), log_sigma, inverse, nll (B,))
    squared_error_forward_backward(x, xhat, log_sigma, inverse, weight, nll, d_xhat (B, D))
        nll = ||x - xhat||^2 / (2 sigma^2) + D log sigma + D/2 log(2 pi);  d_xhat = weight (xhat - x) / sigma^2. One
        sigma, as its logarithm and its inverse.
    gaussian_forward(x (N, D), xhat (B, D), log_sigma (D,), inverse (D,), nll (B,))
    gaussian_forward_backward(x, xhat, log_sigma, inverse, weight, nll, d_xhat (B, D))
        The same with a sigma for each column.
    sigma_forward(parameter (S,), lowest (S,), log_sigma (D,), inverse (D,))
        log_sigma = lowest + softplus(10 parameter - lowest), and inverse = 1 / sigma: one for all columns, S = 1, or
        one a column, S = D. The factor has it learn ten times as fast as the weights.
    sigma_backward(d_xhat (B, D), inverse (D,), parameter (S,), lowest (S,), weight, weights (B,) or None,
                   d_parameter (S,))
        The gradient of `weight` times the sum of nll by the parameter, from the d_xhat of all rows. With weights: of
        weights times nll, from rows of d_xhat that have been multiplied by them.
    sigma_optimal(x (N, D), xhat (B, D), lowest (S,), log_sigma (D,), inverse (D,))
        sigma^2 = mean of (x - xhat)^2, over the batch and over all columns (S = 1) or of each (S = D); not below
        `lowest`. Rybkin et al. 2021.
    sigma_remember(log_sigma (D,), share, lowest (S,), step, parameter (S,))
        The parameter moves to a running mean of sigma^2 over about ten batches, this one `share` of a whole one; step
        1 sets it.
    bernoulli_forward(x in [0, 1] (N, D), logits (B, D), nll (B,))
    bernoulli_forward_backward(x, logits, weight, nll, d_logits (B, D))
        nll = sum_D softplus(a) - x a;  d_logits = weight (sigmoid(a) - x).
    poisson_forward(x (N, D), log_rate (B, D), nll (B,))
    poisson_forward_backward(x, log_rate, weight, nll, d_log_rate (B, D))
        nll = sum_D exp(a) - x a + ln x!, of whole numbers x from 0;  d_log_rate = weight (exp(a) - x). Where a is too
        large for exp(a) to be squared, it goes on as a straight line.
    mixed_inputs(x (B, D), centre (D,), inverse (D,), kinds (D,) int64, stops (D,) int64, ends (D,) int64, out (B, U))
        What an encoder is given of rows of columns of several kinds, numbers of `fastvae.kernels.mixed.KINDS`; NaN is a
        value that is missing. Column j has the outputs up to stops[j], one, or of a category its levels, and here the
        places up to ends[j]: (x - centre) inverse, of counts with log(1 + x) in the place of x, or of a category a 1 at
        its level and else 0. All are 0 where x is missing; where there is a place more, that is 1 then, else 0.
    mixed_forward(x (N, D), a (B, A), theta (D,), log_scale (D,), kinds (D,) int64, stops (D,) int64, nll (B,))
    mixed_forward_backward(x, a, theta, log_scale, kinds, stops, weight, nll, d_a (B, A), d_theta (B, D))
        nll = the sum over the columns whose x is not missing of the nll of their kinds, see `fastvae.kernels.mixed`:
        theta is log sigma of a Gaussian, log r of a negative binomial; a category has softmax(a). To each is added its
        log_scale: what a density in the model's units lacks to be one in the user's. d_a, d_theta = weight times the
        derivatives.
    mixed_parameter_backward(d_theta (B, D), parameter (D,), lowest (D,), d_parameter (D,))
        The gradient by the parameter of theta = lowest + softplus(10 parameter - lowest), see `sigma_forward`.
    continuous_bernoulli_forward(x in [0, 1] (N, D), logits (B, D), nll (B,))
    continuous_bernoulli_forward_backward(x, logits, weight, nll, d_logits (B, D))
        nll = sum_D log((e^a - 1) / a) - x a, of the density a e^(x a) / (e^a - 1) on [0, 1];  d_logits = weight (m -
        x), m the mean, 1 / (1 - e^-a) - 1 / a. Loaiza-Ganem and Cunningham 2019.
    divergence_forward(x in (0, 1) (N, D), mean (B, D), nll (B,))
    divergence_forward_backward(x, mean, weight, nll, d_mean (B, D))
        nll = sum_D x ln(x / m) + (1 - x) ln((1 - x) / (1 - m)): the KL divergence of Bernoullis with these means, m
        limited to [2^-20, 1 - 2^-20];  d_mean = weight (m - x) / (m (1 - m)).
    sigmoid_inplace(x (B, D)), exp_inplace(x (B, D))
        The mean of p(x|z), written over logits, or over the logarithms of rates.
    continuous_mean_inplace(x (B, D))
        The same of a continuous Bernoulli: 1 / (1 - e^-x) - 1 / x.
    tanh_inplace(x (B, D))
        x = tanh(x): where an activation does not follow a product, as behind noise.
    log1p(x (B, D), out (B, D))
        out = ln(1 + x) of counts x.
    total(values (B,)) -> float
        Their sum, in float64.

Optimizers, over flat buffers of P parameters
    adam_inplace(params (P,), grads (P,), m (P,), v (P,), rate, correction, new1, keep2, new2, decay, epsilon,
                 grad_scale)
        g = grad_scale grads;  m = m + new1 (g - m);  v = keep2 v + new2 g^2;
        params -= rate m / (correction sqrt(v) + epsilon) + decay params: Adam's step t with rate = learning_rate /
        (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t), new1 = 1 - beta1, keep2 = beta2, new2 = 1 - beta2 and
        decay = learning_rate weight_decay, each worked out in float64. Overwrites params, m, v. Kingma and Ba 2015; the
        decay is decoupled, Loshchilov and Hutter 2019. Moments too small to matter (|m| < 2^-100, v < 2^-120) become 0,
        so that those of parameters without gradients do not stay among the denormal numbers, which are slow.
    sgd_inplace(params (P,), grads (P,), velocity (P,), rate, momentum, ahead, decay, grad_scale)
        g = grad_scale grads;  velocity = momentum velocity + g;  params -= rate (velocity + decay params); where
        `ahead` is above 0, g + ahead velocity stands in the place of velocity: with the momentum that is Nesterov's.
        Overwrites params, velocity. Sutskever et al. 2013.
    average_inplace(params (P,), share, average (P,))
        average moves by `share` towards params; with 1 it becomes params, whatever stood there.
    clip_scale(grads (P,), largest, scale)
        scale = min(1, largest / ||grads||), with the norm in float64: what a gradient is multiplied by so that its norm
        is at most `largest`. Pascanu et al. 2013. Without float64, as on a GPU, a norm whose square is beyond float32,
        from 2e19 on, counts as infinite.
    squared_norm(grads (P,)) -> float
        sum of squares, in float64.

Noise
    normal_noise(seed, stream, step, first_row, out (B, D)), uniform_noise(seed, stream, step, first_row, out (B, D))
        out[i, j] is N(0, 1), or uniform in [2^-33, 1], at row first_row + i and column j.
    KEEPS_NOISE
        Whether a step should draw its noise into memory, for forward and backward; else both draw it where they use it.
    binarize_inplace(x in [0, 1] (B, D), seed, step, first_row)
        x = 1 with probability x, else 0.
    corrupt(x (B, D), kind, amount, seed, stream, step, first_row, out (B, D))
        x as an encoder is shown it, `kind` a number of `fastvae.kernels.formulas.ALL_CORRUPTIONS`: with N(0, amount^2)
        added; or, each number with probability `amount`, 0 in its place, or 0 or 1 with equal odds, or NaN. Vincent et
        al. 2010.
    threshold_inplace(x (B, D), threshold)
        x = 1 where x > threshold, else 0.

Data
    shuffled_indices(seed, epoch, count, start, out (n,) int64)
        Entries start ... start + n - 1 of a permutation of 0 ... count - 1 that belongs to (seed, epoch), in constant
        memory: eight rounds of a Feistel network, Luby and Rackoff 1988, the indices outside walked over; up to 64
        indices, the ranks of random numbers.
    gather(data (N, D) any real dtype, indices (n,) int64, offset (D,), scale (D,), out (n, D))
        out[i] = (data[indices[i]] - offset) / scale. With float64 offset and scale the arithmetic is float64, for data
        that float32 would not tell apart (a time in seconds since 1970).
    read_rows(source (B, D) any real dtype, offset (D,), scale (D,), lowest, highest, outside, out (B, D))
        out = (source - offset) / scale, as `gather`; outside += how many are not in lowest ... highest, as NaN is not.

Programs: calls of the ops above that are written down once and then run without returning to Python
    Program(slots, precision)
        `slots` is a row of named numbers, see `fastvae.kernels.slots.Slots`. add(op, ...) writes down a call with its
        operands in the order of the table: arrays, which are kept alive; numbers, or their slots; None for what is
        left out; of `read_rows`, a `Source`, which is told from run to run what it reads. run() does all calls in
        order; `sources` are those of its calls; `job` is what another thread runs it by. returns(arrays) names those
        whose results somebody wants.
        precision: "float32", or "bfloat16" for products of operands rounded to that; sums are float32 in both.
    run_steps(phases, slots, table, order, indices, watched, sums) -> begun, done
        Of `Backend.workers`: steps of a training, up to one for each row of `table` (n, U) int64, without Python
        between them. A row becomes the first U numbers of `slots`, and that of `order` (n, b) int64 becomes `indices`
        (b,), which `gather` reads; order (1, 0) is none. Then the phases run one after the other, each a list of
        programs that may run at the same time. `watched` has the losses as `fastvae.kernels.slots.Watched`: after the
        phase that completes their values these are added up in float64, into `sums` (n, losses), and where they times
        their weights are not finite it ends, with nothing of a later phase done. Return how many steps were begun, and
        how many were done; fewer than n may be, and the caller goes on with those that are left.
    ON_HOST
        Whether a program works on the very arrays that it is given. Else each is the name of an array elsewhere, copied
        there when a program first names it. There a step makes all gradients before an optimizer's step over the flat
        buffers.
    upload(arrays ...), download(arrays ...)
        Copy arrays to where programs work on them, and back; `Program.returns` does the latter after each run.
    forget(array)
        The data set has changed: whoever `gather`s from it next reads it anew.
"""

if __name__ != "fastvae.kernels":
    raise ImportError("this folder is imported as `fastvae.kernels`: write `import fastvae.kernels`")

try:
    import numba as _numba
except Exception as error:  # it is not there, or says that it does not go with this NumPy, or fails in its own ways
    _reason = " ".join(f"{type(error).__name__}: {error}".split())
    raise ImportError(f"numba, which fastvae needs, cannot be imported ({_reason}): pip install -U numba") from error

_OLDEST = 0, 61
if (_numba.version_info.short or _OLDEST) < _OLDEST:
    raise ImportError(f"numba {_numba.__version__} is too old for fastvae, which needs 0.61: pip install -U numba")
if getattr(_numba.config, "DISABLE_JIT"):  # noqa: B009 - it is set while numba is imported
    raise ImportError("NUMBA_DISABLE_JIT=1 turns off numba's compiler, which fastvae needs: unset it for this program")
