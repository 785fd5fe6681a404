"""Benchmark of ``fit_least_squares`` against what a user would pick instead.

Run it with ``make bench-estimation`` or ``python -m benchmarks.estimation --help``.
"""
