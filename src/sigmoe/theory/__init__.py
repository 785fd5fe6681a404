"""The paper's theory as instruments: Voronoi cells and losses, distances between functions."""

from sigmoe.moe import voronoi_cells
from sigmoe.theory._function_distance import function_distance
from sigmoe.theory._loss import Translation, VoronoiLoss
from sigmoe.theory._voronoi import voronoi_loss

__all__ = [
    "Translation",
    "VoronoiLoss",
    "function_distance",
    "voronoi_cells",
    "voronoi_loss",
]
