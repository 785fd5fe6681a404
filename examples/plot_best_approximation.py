"""
Best approximations that do not exist
=====================================

A model that does not hold the truth has a best approximation in every box of parameters, but in the
whole space there may be none: the distance keeps falling while parameters grow. This page follows
three optima through growing boxes and draws what happens.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import project

SOFTMAX_TANH = Architecture(gate="softmax", score="linear", expert="tanh", dim=1)
SIGMOID_TANH = Architecture(gate="sigmoid", score="linear", expert="tanh", dim=1)
SOFTMAX_LINEAR = Architecture(gate="softmax", score="linear", expert="linear", dim=1)
SIGMOID_LINEAR = Architecture(gate="sigmoid", score="linear", expert="linear", dim=1)

# %%
# **Attained.** Three softmax experts, approximated by one sigmoid expert.
three = draw_truth(SOFTMAX_TANH, 3, seed=1)

# %%
# **At infinity.** A single softmax gate is 1 everywhere. A sigmoid gate comes near 1, and never is.
alone = MixingMeasure(SOFTMAX_TANH, None, [[0.0]], [0.0], [[1.5, 0.5]])

# %%
# **By degenerate atoms.** With s = 5 x + 0.3, three softmax atoms with the scores 0, s + log 2 and
# 2 s and the experts 0, x + 0.7 and 0 add up to 2 sigmoid'(s) (x + 0.7). Two sigmoid atoms come as
# near to this derivative as one likes: as a difference quotient, with opposite experts of size R
# on gates that are 1/R apart.
bell = MixingMeasure(
    SOFTMAX_LINEAR,
    None,
    [[0.0], [5.0], [10.0]],
    [0.0, 0.3 + math.log(2.0), 0.6],
    [[0.0, 0.0], [1.0, 0.7], [0.0, 0.0]],
)

# %%
# Each truth is projected from a few random starts. ``attained`` then follows the best member of
# each function through boxes of radius 1.25 to 80, where 10 is the default box of a fit.
results = {
    "one tanh expert for three": project(three, SIGMOID_TANH, 1, n_starts=3, n_points=256),
    "one tanh expert, gate 1": project(alone, SIGMOID_TANH, 1, n_starts=3, n_points=256),
    "derivative of a gate": project(bell, SIGMOID_LINEAR, 2, n_starts=4, n_points=256),
}
for name, found in results.items():
    best = found.attainments[0]
    print(f"{name}: {found.attained}\n    {best.reason}")

# %%
# Left: distances in growing boxes; a plateau, an exponential that ends where float64 does, and a
# power law of slope -2. Middle: the largest parameter, in units of the box; grey, the box itself.
# Right: the derivative of a gate, the two atoms of its approximation in the default box, and
# their sum, which covers the truth.
figure, (falling, growing, atoms) = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained")
for (name, found), marker in zip(results.items(), "os^", strict=True):
    best = found.attainments[0]
    shown = np.array(best.distances) > 0
    radii = np.array(best.radii)
    falling.loglog(radii[shown], np.array(best.distances)[shown], marker + "-", ms=4, label=name)
    growing.loglog(radii, best.norms, marker + "-", ms=4, label=found.attained)
growing.loglog(radii, radii, color="0.75", lw=4, zorder=0)
falling.set(title="distance to the truth", ylim=(1e-14, 1.0))
growing.set(title="largest parameter")
growing.set_yticks(radii, [f"{radius:g}" for radius in radii])
for axis in (falling, growing):
    axis.set_xticks(radii, [f"{radius:g}" for radius in radii])
    axis.set_xlabel("radius of the box")
    axis.minorticks_off()
falling.legend(frameon=False, fontsize="x-small", loc="lower left")
growing.legend(frameon=False, fontsize="x-small", loc="upper left")

x = np.linspace(-1.0, 1.0, 201)[:, None]
two = results["derivative of a gate"].members[0]
parts = (two.gates(x) * two.experts(x)).numpy()
atoms.plot(x, parts[:, 0], x, parts[:, 1], lw=1, color="C0")
atoms.plot(x, bell.predict(x), color="0.7", lw=5, label="truth")
atoms.plot(x, parts.sum(axis=1), color="C3", lw=1.2, label="sum of the two atoms")
atoms.set(xlabel="x", title="two atoms against each other")
atoms.legend(frameon=False, fontsize="x-small")
plt.show()

# %%
# A loss between a fit and "the" best approximation presupposes that there is one. ``set_loss``
# takes the nearest of all that are known; where the infimum is not attained, it measures the
# distance to wherever the box has stopped the search.
print(results["derivative of a gate"].summary)
