"""Least squares of mixtures as raw tensors: normal equations and Levenberg-Marquardt."""
