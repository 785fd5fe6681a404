"""Fits of rows that do not fit into memory, or lie on several machines."""
