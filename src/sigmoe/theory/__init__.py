"""The paper's theory as instruments: Voronoi cells and losses, predictions, best approximations."""

from sigmoe.moe import voronoi_cells
from sigmoe.theory._fisher import FisherPrediction, fisher_prediction
from sigmoe.theory._function_distance import function_distance
from sigmoe.theory._loss import Translation, VoronoiLoss
from sigmoe.theory._representations import nearest_representations
from sigmoe.theory._set_loss import SetLoss, set_loss
from sigmoe.theory._voronoi import voronoi_loss
from sigmoe.theory.identifiability import IdentifiabilityReport, check_identifiability
from sigmoe.theory.modulus import BlockModulus, LocalModulus, local_modulus
from sigmoe.theory.projection import Attainment, BestApproximations, attainment, project

__all__ = [
    "Attainment",
    "BestApproximations",
    "BlockModulus",
    "FisherPrediction",
    "IdentifiabilityReport",
    "LocalModulus",
    "SetLoss",
    "Translation",
    "VoronoiLoss",
    "attainment",
    "check_identifiability",
    "fisher_prediction",
    "function_distance",
    "local_modulus",
    "nearest_representations",
    "project",
    "set_loss",
    "voronoi_cells",
    "voronoi_loss",
]
