"""The model: gates, scores, experts, mixing measures, truths and samples (eqs. (3)-(5), (48))."""

from sigmoe.moe._architecture import Architecture
from sigmoe.moe._draw import Sampler, draw_sample, draw_truth, uniform_sampler
from sigmoe.moe._experts import Expert, expert_names, register_expert
from sigmoe.moe._measure import MixingMeasure
from sigmoe.moe._voronoi import voronoi_cells

__all__ = [
    "Architecture",
    "Expert",
    "MixingMeasure",
    "Sampler",
    "draw_sample",
    "draw_truth",
    "expert_names",
    "register_expert",
    "uniform_sampler",
    "voronoi_cells",
]
