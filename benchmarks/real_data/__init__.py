"""Mixtures of experts against what else one would fit, on tables that come with packages.

Run it with ``make bench-real-data`` or ``python -m benchmarks.real_data --help``.
"""
