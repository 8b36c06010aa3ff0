"""The families' twins: out of scipy, or by formulas that ours avoid."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special
import scipy.stats

LEVELS = 16  # of grey, so that each comes up often


def floats(params: Any) -> list[np.ndarray]:
    return [np.asarray(leaf, float) for leaf in jax.tree.leaves(params)]


def normal_twin(params):
    loc, log_scale = floats(params)
    return scipy.stats.norm(loc, np.exp(log_scale))


def truncated_twin(params):
    loc, log_scale = floats(params)
    scale = np.exp(log_scale)
    return scipy.stats.truncnorm(-loc / scale, (1 - loc) / scale, loc, scale)


class LogitNormalTwin:
    def __init__(self, params):
        self.normal = normal_twin(params)

    def logpdf(self, z):
        return self.normal.logpdf(scipy.special.logit(z)) - np.log(z) - np.log1p(-z)

    def cdf(self, z):
        return self.normal.cdf(scipy.special.logit(z))

    def mean(self):
        u = np.linspace(0, 1, 400_001)[1:-1, None]
        return scipy.special.expit(self.normal.ppf(u)).mean(0)


class OneHotTwin:
    def __init__(self, logits):
        self.p = scipy.special.softmax(np.asarray(logits, float), -1)

    def logpmf(self, x):
        return scipy.stats.multinomial(1, self.p).logpmf(x)

    def mean(self):
        return self.p


class CorrelatedTwin:
    def __init__(self, loc, covariance):
        self.loc, self.covariance = loc, covariance

    def logpdf(self, z):
        twin = scipy.stats.multivariate_normal(self.loc, self.covariance)
        return twin.logpdf(z)[:, None]

    def cdf(self, z):
        """Values of coordinates, and of differences, for the covariance."""
        away = z - self.loc
        both = np.concatenate([away, np.diff(away)], -1)
        change = np.concatenate([np.eye(3), np.diff(np.eye(3), axis=0)])
        scale = np.sqrt(np.diag(change @ self.covariance @ change.T))
        return scipy.stats.norm.cdf(both / scale)

    def mean(self):
        return self.loc


class MixtureTwin:
    """The values for independent normal variables, in 3 dimensions."""

    def __init__(self, params):
        self.weights = scipy.special.softmax(np.asarray(params.log_weights, float))
        self.loc, log_scale = floats(params.components)
        self.scale = np.exp(log_scale)

    def logpdf(self, z):
        away = (z[:, None] - self.loc) / self.scale
        density = (scipy.stats.norm.pdf(away) / self.scale).prod(-1)
        return np.log(density @ self.weights)[:, None]

    def cdf(self, z):
        """Values of coordinates, and of differences, for the components."""
        both = np.concatenate([z, np.diff(z)], -1)
        loc = np.concatenate([self.loc, np.diff(self.loc)], -1)
        pairs = np.hypot(self.scale[:, 1:], self.scale[:, :-1])
        scale = np.concatenate([self.scale, pairs], -1)
        return self.weights @ scipy.stats.norm.cdf((both[:, None] - loc) / scale)

    def mean(self):
        return self.weights @ self.loc


def full_normal_twin(params):
    loc, factor = floats(params)
    lower = np.tril(factor, -1) + np.diag(np.exp(np.diag(factor)))
    return CorrelatedTwin(loc, lower @ lower.T)


def low_rank_twin(params):
    loc, log_scale, factor = floats(params)
    return CorrelatedTwin(loc, np.diag(np.exp(2 * log_scale)) + factor.T @ factor)


class DirichletTwin:
    def __init__(self, params):
        self.a = np.exp(np.asarray(params, float))

    def logpdf(self, z):
        z = z / z.sum(-1, keepdims=True)  # scipy refuses float32's sums
        return scipy.stats.dirichlet(self.a).logpdf(z.T)[:, None]

    def cdf(self, z):
        """Values for the coordinates, and the share of the first in two of them."""
        marginals = scipy.stats.beta(self.a, self.a.sum() - self.a).cdf(z)
        share = z[:, 0] / (z[:, 0] + z[:, 1])
        ratio = scipy.stats.beta(self.a[0], self.a[1]).cdf(share)
        return np.concatenate([marginals, ratio[:, None]], -1)

    def mean(self):
        return self.a / self.a.sum()


class SphereTwin:
    def __init__(self, params):
        direction, log_kappa = floats(params)
        self.mu, self.kappa = direction / np.linalg.norm(direction), np.exp(log_kappa)

    def logpdf(self, z):
        return scipy.stats.vonmises_fisher(self.mu, self.kappa).logpdf(
            z / np.linalg.norm(z, axis=-1, keepdims=True)
        )[:, None]

    def cdf(self, z):
        """Values of w = mu'z, closed in three dimensions and the angle around mu."""
        k, w = self.kappa, z @ self.mu
        of_w = (np.exp(k * (w - 1)) - np.exp(-2 * k)) / -np.expm1(-2 * k)
        one = np.cross(self.mu, [0.0, 0.0, 1.0])
        one /= np.linalg.norm(one)
        angle = np.arctan2(z @ np.cross(self.mu, one), z @ one)
        return np.stack([of_w, (angle / np.pi + 1) / 2], -1)

    def mean(self):
        return (1 / np.tanh(self.kappa) - 1 / self.kappa) * self.mu


def exp_twin(distribution: Any) -> Callable[[Any], Any]:
    """The twin whose parameters are the exponentials of ours."""
    return lambda params: distribution(*np.exp(floats(params)))


class ContinuousBernoulliTwin:
    """By the formulas that fail at a logit of 0."""

    def __init__(self, logits):
        (self.logits,) = floats(logits)

    def logpdf(self, x):
        return x * self.logits - np.log(np.expm1(self.logits) / self.logits)

    def cdf(self, x):
        return np.expm1(self.logits * x) / np.expm1(self.logits)

    def mean(self):
        return -1 / np.expm1(-self.logits) - 1 / self.logits


class LevelsTwin:
    """Grey levels by their probabilities, [levels, *event]."""

    def __init__(self, probabilities):
        self.p = probabilities

    def pmf(self, x):
        level = np.rint(x * (len(self.p) - 1)).astype(int)
        seen = np.minimum(level, len(self.p) - 1)
        p = np.take_along_axis(self.p, np.broadcast_to(seen, (len(x), 3)), 0)
        return np.where(level < len(self.p), p, 0)

    def logpmf(self, x):
        return np.log(self.pmf(x))

    def mean(self):
        return np.linspace(0, 1, len(self.p)) @ self.p


def logistic_levels(loc, log_scale, levels=LEVELS):
    """The probabilities of the cells between levels, by scipy."""
    ends = (np.arange(levels - 1) + 0.5) / (levels - 1)
    below = scipy.stats.logistic(loc, np.exp(log_scale)).cdf(ends[:, None])
    return np.diff(below, axis=0, prepend=0, append=1)


def mixture_twin(params):
    logits, locs, log_scales = floats(params)
    weights = scipy.special.softmax(logits, 0)
    parts = map(logistic_levels, locs, log_scales)
    return LevelsTwin(sum(w * p for w, p in zip(weights, parts, strict=True)))


class MultinomialTwin:
    def __init__(self, logits):
        self.p = scipy.special.softmax(np.asarray(logits, float))

    def logpmf(self, x):
        return scipy.stats.multinomial(20, self.p).logpmf(x)[:, None]

    def pmf(self, x):
        """The value for one word."""
        return scipy.stats.binom(20, self.p).pmf(x)

    def mean(self):
        return 20 * self.p


def negative_binomial_twin(params):
    mean, dispersion = np.exp(floats(params))
    return scipy.stats.nbinom(1 / dispersion, 1 / (1 + mean * dispersion))


def pixel_beta_twin(params):
    """From half a level below 0 to half a level above 1."""
    return scipy.stats.beta(*np.exp(floats(params)), -0.5 / 255, 256 / 255)
