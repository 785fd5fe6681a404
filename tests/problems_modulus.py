"""Finite Gaussian mixtures near one Gaussian: models whose exponents are classical."""

import numpy as np

from sigmoe.theory.modulus._parts import shares


class GaussianMixture:
    """``size`` components near N(0, 1): shares, means, and variances if they are free."""

    def __init__(self, size, free_variance):
        self.x, weight = np.polynomial.legendre.leggauss(200)
        self.x, self.root = 9.0 * self.x, np.sqrt(9.0 * weight)
        self.size, self.free_variance = size, free_variance
        moves = size * (1 + free_variance)
        self.lower = np.concatenate([np.zeros(size - 1), -np.ones(moves)])
        self.upper = np.concatenate([np.ones(size - 1), np.ones(moves)])
        self.lower[2 * size - 1 :] = -0.5
        self.upper[2 * size - 1 :] = 0.5
        self.local = np.arange(len(self.lower)) >= size - 1
        self.names = tuple(f"x{k}" for k in range(len(self.lower)))

    def parts(self, x):
        k = self.size
        share, slope = shares(x[..., : k - 1], 0.4)
        means = x[..., k - 1 : 2 * k - 1, None]
        v = 1.0 + x[..., 2 * k - 1 :, None] if self.free_variance else np.ones_like(means)
        z = self.x - means
        return share[..., None], slope, np.exp(-(z**2) / (2 * v)) / np.sqrt(2 * np.pi * v), z, v

    def residual(self, x):
        share, _, density, _, _ = self.parts(x)
        truth = np.exp(-(self.x**2) / 2) / np.sqrt(2 * np.pi)
        return ((share * density).sum(-2) - truth) * self.root

    def jacobian(self, x):
        share, slope, density, z, v = self.parts(x)
        rows = [np.swapaxes(slope, -1, -2) @ density, share * density * z / v]
        if self.free_variance:
            rows.append(share * density * (z**2 / v**2 - 1 / v) / 2)
        return np.swapaxes(np.concatenate(rows, axis=-2) * self.root, -1, -2)
