"""What files of NumPy are put together from, as text: words in capitals are replaced. See `numpy_file`."""

ROWS = """
def _rows(X, columns, name):
    X = np.asarray(X)
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {X.dtype}; numbers are needed")
    if X.ndim != 2 or X.shape[1] != columns or len(X) == 0:
        raise ValueError(f"{name} has shape {X.shape}; (N, {columns}) is needed, with at least one row")
    return X


def _check_values(X, name):
    if not (np.abs(X.astype(np.float64)) <= _LARGEST).all():
        raise ValueError(f"{name} has values that are not finite float32 numbers: remove or replace them")


def _float32(u, X, name):
    found = u.astype(np.float32)
    if not np.isfinite(found).all():
        _check_values(X, name)
    return found


def _checked(found, X):
    if not np.isfinite(found).all():
        first = int((~np.isfinite(found).reshape(len(found), -1).all(axis=1)).argmax())
        raise ValueError(f"rows lie so far from the data of the training that float32 overflows (first: row {first})")
    return found.astype(np.float64) if X.dtype == np.float64 else found
"""

SCALED = """
def _scaled(X):
    kind = np.float32 if X.dtype.itemsize <= 2 or X.dtype == np.float32 else np.float64
    (offset, scale), X = _UNITS[kind], X.astype(kind, copy=False)
    CHECKS
    return _float32((X - offset) / scale, X, "X")
"""

WHOLE = """    if not ((X >= 0) & (X == np.floor(X))).all():
        raise ValueError("X has values that are no counts: whole numbers from 0 are needed")
"""

RANGE = """    u = (X.astype(np.float64) - _NUMBERS["offset"]) / _NUMBERS["scale"]
    if not (u.min() >= -ROUNDING and u.max() <= 1 + ROUNDING):
        raise ValueError(f"X has values in [{X.min():.6g}, {X.max():.6g}], beyond the range that the model knows")
"""

CLIP = """    u = (X.astype(np.float64) - _NUMBERS["offset"]) / _NUMBERS["scale"]
    beyond = np.maximum(-u, u - 1).max()
    if not beyond <= 0:
        _check_values(X, "X")
        if beyond > ROUNDING:
            warnings.warn(
                f"X has values beyond the range of the training data, by up to {beyond:.3g} times its width; "
                "each is taken as the nearest end of it",
                stacklevel=4,
            )
        X = np.clip(X, offset, (_NUMBERS["offset"] + _NUMBERS["scale"]).astype(kind))
"""

LABELS = '''
def _with_condition(rows, condition):
    """Rows, and beside them the condition as the model reads it: sqrt(C) in the column of the label."""
    labels, condition = _NUMBERS["labels"], np.asarray(condition)
    if condition.dtype.kind not in KINDS:
        raise TypeError(f"condition has dtype {condition.dtype}; the labels of the model are {labels.dtype}")
    if condition.ndim > 1 or (condition.ndim == 1 and len(condition) != len(rows)):
        raise ValueError(f"condition has shape {condition.shape}; one label, or {len(rows)}, needed")
    seen = condition.reshape(-1, 1) == labels
    if not seen.any(axis=1).all():
        wrong = condition.reshape(-1)[~seen.any(axis=1)][0]
        raise ValueError(f"condition has the label {wrong!r}, which the model was not fitted on; known: {labels}")
    seen = np.where(seen, np.float32(len(labels) ** 0.5), np.float32(0))
    return np.concatenate([rows, np.broadcast_to(seen, (len(rows), len(labels)))], axis=1)
'''

VECTORS = '''
def _with_condition(rows, condition):
    """Rows, and beside them the condition as the model reads it, standardised."""
    offset, condition = _NUMBERS["condition.offset"], np.asarray(condition)
    if condition.dtype.kind != "f":
        raise TypeError(f"condition has dtype {condition.dtype}; floats are needed: condition.astype(float)")
    count, columns, shape = len(rows), len(offset), condition.shape
    one = condition.ndim == 0 or (condition.ndim == 1 and (columns > 1 or (len(condition) == 1 and count != 1)))
    condition = condition.reshape(1, -1) if one else condition.reshape(len(condition), -1)
    if len(shape) > 2 or condition.shape[1] != columns or len(condition) not in (1, count):
        raise ValueError(f"condition has shape {shape}; ({count}, {columns}), or one row for all, needed")
    seen = ((condition.astype(np.float64) - offset) / _NUMBERS["condition.scale"]).astype(np.float32)
    if not (np.isfinite(seen).all() and (np.abs(condition) <= _LARGEST).all()):
        raise ValueError("condition has values that are not finite, or too far from those of the training")
    return np.concatenate([rows, np.broadcast_to(seen, (count, columns))], axis=1)
'''

BERNOULLI = """
def _nll(x, a):
    terms = np.log1p(np.exp(-np.abs(a))) + np.where(a < 0, -x * a, (1 - x) * a)
    return terms.sum(axis=-1, dtype=np.float64).astype(np.float32)
"""

GAUSSIAN = """
def _nll(x, a):
    sigma = _NUMBERS["sigma"]
    constant = np.log(sigma.astype(np.float64)).sum() + 0.5 * np.log(2 * np.pi) * COLUMNS
    return (0.5 * (((x - a) / sigma) ** 2).sum(axis=-1, dtype=np.float64) + constant).astype(np.float32)
"""

POISSON = '''
def _log_factorial(x):
    """By Stirling's series at x + 9."""
    y = x + 9
    series = (y - 0.5) * np.log(y) - y + 0.5 * np.log(2 * np.pi) + 1 / (12 * y) - 1 / (360 * y**3) + 1 / (1260 * y**5)
    return series - sum(np.log(x + k) for k in range(1, 9))


def _nll(x, a):
    x, a = x.astype(np.float64), a.astype(np.float64)
    limited = np.minimum(a, 30)  # beyond, the model goes on with the tangent
    terms = np.exp(limited) * (1 + a - limited) - x * a + _log_factorial(x)
    return terms.sum(axis=-1).astype(np.float32)
'''

ELBO = """
@_QUIET
def score(X, BESIDE):
    X = _rows(X, COLUMNS, "X")
    u, points = _scaled(X), _NUMBERS["points"]  # (P, CODES): what z is drawn by, mu + sigma points
    mu, logvar = _heads(u, BESIDE)
    kl = 0.5 * (np.exp(logvar) + mu * mu - 1 - logvar).sum(axis=1, dtype=np.float64).astype(np.float32)
    z = (mu[:, None] + np.exp(0.5 * logvar)[:, None] * points).reshape(-1, CODES)
    MORE
    nll = _nll(u[:, None], _outputs(z).reshape(len(X), len(points), COLUMNS))
    return _checked(-(nll.astype(np.float64).mean(axis=1) + kl) - JACOBIAN, X)
"""

MORE = """given = _with_condition(np.empty((len(X), 0), np.float32), condition)
    z = np.concatenate([z, np.repeat(given, len(points), axis=0)], axis=1)
"""

NLL = """
@_QUIET
def score(X):
    X = _rows(X, COLUMNS, "X")
    u = _scaled(X)
    return _checked(-_nll(u, _outputs(_heads(u)[0])).astype(np.float64) - JACOBIAN, X)
"""
