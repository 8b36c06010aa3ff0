"""Log-densities and divergences in 50 digits, by their textbook formulas.

A law takes a distribution's parameters, as the list of a tree's leaves, and events, all
as arrays of mpmath's numbers; it shares no code with the families.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 50
exact = np.frompyfunc(lambda number: mp.mpf(float(number)), 1, 1)
exp, log, lgamma, digamma, ncdf = (
    np.frompyfunc(f, 1, 1)
    for f in (
        mp.exp,
        mp.log,
        mp.loggamma,
        mp.digamma,
        lambda x: mp.erfc(-x / mp.sqrt(2)) / 2,
    )
)
sigmoid = np.frompyfunc(lambda x: 1 / (1 + mp.exp(-x)), 1, 1)
LOG_TAU = mp.log(2 * mp.pi)


def log_softmax(logits, axis=-1):
    return logits - log(exp(logits).sum(axis, keepdims=True))


def bernoulli(p, x):
    (logit,) = p
    return (x * logit - log(1 + exp(logit))).sum()


def bernoulli_kl(p, q):
    (logit,), (other,) = p, q
    on, off = sigmoid(logit), sigmoid(-logit)
    return (on * log(on / sigmoid(other)) + off * log(off / sigmoid(-other))).sum()


def categorical(p, x):
    return (x * log_softmax(p[0])).sum()


def categorical_kl(p, q):
    log_p = log_softmax(p[0])
    return (exp(log_p) * (log_p - log_softmax(q[0]))).sum()


def levels_of(count):
    def categorical_levels(p, x):
        level = int(mp.nint(x[0] * (count - 1)))
        return log_softmax(p[0], 0)[level, 0]

    return categorical_levels


def continuous_bernoulli(p, x):
    (logit,) = p
    normalizer = [mp.log(mp.expm1(t) / t) if t else mp.mpf(0) for t in logit]
    return (x * logit).sum() - sum(normalizer)


def log_beta(a):
    return lgamma(a).sum() - lgamma(a.sum())


def dirichlet(p, z):
    a, z = exp(p[0]), z / z.sum()
    return ((a - 1) * log(z)).sum() - log_beta(a)


def dirichlet_kl(p, q):
    a, c = exp(p[0]), exp(q[0])
    log_z = digamma(a) - digamma(a.sum())
    return log_beta(c) - log_beta(a) + ((a - c) * log_z).sum()


def beta(p, z):
    log_a = np.concatenate(p)
    return dirichlet([log_a], np.concatenate([z, 1 - z]))


def beta_kl(p, q):
    return dirichlet_kl([np.concatenate(p)], [np.concatenate(q)])


def pixel_beta(p, x):
    return beta(p, (255 * x + mp.mpf(1) / 2) / 256) + mp.log(mp.mpf(255) / 256)


def gamma(p, z):
    log_a, log_r = p
    a = exp(log_a)
    return (a * log_r + (a - 1) * log(z) - exp(log_r) * z - lgamma(a)).sum()


def gamma_kl(p, q):
    a, b, ratio = exp(p[0]), exp(q[0]), q[1] - p[1]
    shapes = (a - b) * digamma(a) - lgamma(a) + lgamma(b)
    return (shapes - b * ratio + a * (exp(ratio) - 1)).sum()


def poisson(p, x):
    (log_rate,) = p
    return (x * log_rate - exp(log_rate) - lgamma(x + 1)).sum()


def poisson_kl(p, q):
    return (exp(p[0]) * (p[0] - q[0]) - exp(p[0]) + exp(q[0])).sum()


def negative_binomial(p, x):
    m, r = exp(p[0]), exp(-p[1])
    ways = lgamma(x + r) - lgamma(r) - lgamma(x + 1)
    return (ways + r * log(r / (r + m)) + x * log(m / (r + m))).sum()


def multinomial(p, x):
    orders = mp.loggamma(x.sum() + 1) - lgamma(x + 1).sum()
    return orders + (x * log_softmax(p[0])).sum()


def normal(p, z):
    loc, log_scale = p
    noise = (z - loc) / exp(log_scale)
    return (-(noise**2) / 2 - log_scale - LOG_TAU / 2).sum()


def normal_kl(p, q):
    ratio = 2 * (p[1] - q[1])
    squares = ((p[0] - q[0]) / exp(q[1])) ** 2
    return ((exp(ratio) - 1 - ratio + squares) / 2).sum()


def columns(p, x):
    """The law of the words normal:1:2, poisson, categorical:3 and bernoulli."""
    number, count, chances, bit = p[0].T
    return (
        normal((1 + 2 * number[:1], mp.log(2) + number[1:2]), x[:1])
        + poisson((count[:1],), x[1:2])
        + log_softmax(chances, 0)[int(x[2])]
        + bernoulli((bit[:1],), x[3:])
    )


def laplace(p, z):
    return (-abs(z - p[0]) / exp(p[1]) - p[1] - mp.log(2)).sum()


def at_scale(law, scale):
    return lambda p, z: law([p[0], 0 * p[0] + mp.log(mp.mpf(scale))], z)


def logit_normal(p, z):
    return normal(p, log(z / (1 - z))) - (log(z) + log(1 - z)).sum()


def _cut_off(p):
    """The mass of a normal variable on [0, 1], and E x and E x^2 of its noise x."""
    low, high = (-p[0] / exp(p[1])).item(), ((1 - p[0]) / exp(p[1])).item()
    mass = ncdf(high) - ncdf(low) if low < 0 else ncdf(-low) - ncdf(-high)
    at_low, at_high = (mp.exp(-(t**2) / 2) / mp.sqrt(2 * mp.pi) for t in (low, high))
    return (
        mass,
        (at_low - at_high) / mass,
        1 + (low * at_low - high * at_high) / mass,
    )


def truncated_normal(p, z):
    """The log density of one coordinate, as the divergence below."""
    return normal(p, z) - mp.log(_cut_off(p)[0])


def truncated_normal_kl(p, q):
    (mass, first, second), (other, *_) = _cut_off(p), _cut_off(q)
    scale, shift, log_scale = exp(p[1]), p[0] - q[0], (p[1] - q[1]).item()
    squares = shift**2 + 2 * shift * scale * first + scale**2 * second
    at_q = (squares / exp(2 * q[1])).item()
    return (at_q - second) / 2 - log_scale + mp.log(other / mass)


def optimal_normal(p, x):
    square = ((x - p[0]) ** 2).sum() / len(x)
    return -len(x) * (LOG_TAU + mp.log(square) + 1) / 2


def covariance_law(covariance):
    """The log density of a normal vector, and its divergence, from its parameters."""

    def log_prob(p, z):
        c, away = covariance(p), mp.matrix(list(z - p[0]))
        square = (away.T * mp.inverse(c) * away)[0]
        return -(square + mp.log(mp.det(c)) + len(z) * LOG_TAU) / 2

    def kl(p, q):
        c, d, away = covariance(p), covariance(q), mp.matrix(list(p[0] - q[0]))
        inverse = mp.inverse(d)
        product, size = inverse * c, len(p[0])
        trace = sum(product[i, i] for i in range(size))
        square = (away.T * inverse * away)[0]
        return (trace + square - size + mp.log(mp.det(d) / mp.det(c))) / 2

    return log_prob, kl


def full_covariance(p):
    factor = np.tril(p[1], -1) + np.diag(exp(np.diag(p[1])))
    return mp.matrix((factor @ factor.T).tolist())


def low_rank_covariance(p):
    return mp.matrix((np.diag(exp(2 * p[1])) + p[2].T @ p[2]).tolist())


full_normal, full_normal_kl = covariance_law(full_covariance)
low_rank_normal, low_rank_normal_kl = covariance_law(low_rank_covariance)


def mixture(p, z):
    logits, locs, log_scales = p
    parts = [normal([loc, s], z) for loc, s in zip(locs, log_scales, strict=True)]
    return mp.log((exp(log_softmax(logits)) * exp(np.array(parts))).sum())


def logistic_cell(loc, log_scale, level, count):
    upper, lower = (
        ((level + side) / (count - 1) - loc) / mp.exp(log_scale)
        for side in (mp.mpf(1) / 2, -mp.mpf(1) / 2)
    )
    upper = mp.inf if level == count - 1 else upper
    lower = -mp.inf if level == 0 else lower
    if lower > 0:
        upper, lower = -lower, -upper
    return 1 / (1 + mp.exp(-upper)) - 1 / (1 + mp.exp(-lower))


def discretized_logistic(p, x):
    level = int(mp.nint(x[0] * 255))
    return mp.log(logistic_cell(p[0][0], p[1][0], level, 256))


def mixture_of_discretized_logistics(p, x):
    level = int(mp.nint(x[0] * 255))
    weights = exp(log_softmax(p[0], 0))[:, 0]
    parts = zip(weights, p[1][:, 0], p[2][:, 0], strict=True)
    return mp.log(sum(w * logistic_cell(m, s, level, 256) for w, m, s in parts))


def _sphere(p):
    direction, kappa = p[0], mp.exp(p[1].item())
    half = mp.mpf(len(direction)) / 2
    log_c = half * LOG_TAU + (1 - half) * mp.log(kappa)
    return (
        direction / mp.sqrt((direction**2).sum()),
        kappa,
        log_c + mp.log(mp.besseli(half - 1, kappa)),
        mp.besseli(half, kappa) / mp.besseli(half - 1, kappa),
    )


def von_mises_fisher(p, z):
    mu, kappa, log_c, _ = _sphere(p)
    return kappa * (mu * z).sum() / mp.sqrt((z**2).sum()) - log_c


def von_mises_fisher_kl(p, q):
    (mu, kappa, log_c, cosine), (nu, other, log_d, _) = _sphere(p), _sphere(q)
    return cosine * (kappa - other * (mu * nu).sum()) - log_c + log_d
