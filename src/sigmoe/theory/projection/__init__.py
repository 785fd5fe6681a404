"""Best approximations of a truth by another model: members of Gbar, and whether one exists."""

from sigmoe.theory.projection._attainment import Attainment, attainment
from sigmoe.theory.projection._project import project
from sigmoe.theory.projection._result import BestApproximations

__all__ = ["Attainment", "BestApproximations", "attainment", "project"]
