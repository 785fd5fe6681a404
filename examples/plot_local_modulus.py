"""
What rate to expect
===================

How fast can a parameter be learned? Hold it at distance t from the truth, let everything else
move to hide that, and look at how small the change of the function becomes. The slower the change,
the slower the rate: a change like t^k allows no better rate than n^(-1/(2k)) in the worst case.
"""

import matplotlib.pyplot as plt

from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.theory import local_modulus

# %%
# One tanh expert behind a constant gate, fitted with one atom of the partial score, and with two
# atoms of the full score. One atom is a regular model, where the Fisher information gives the
# error of each block; two atoms share the gate's weight and can move against one another.
partial = Architecture(score="partial", expert="tanh", dim=1)
full = Architecture(score="full", expert="tanh", dim=1)
one = MixingMeasure(partial, [[[0.0]]], None, [-1.4], [[0.8, 0.4]])
two = MixingMeasure(full, [[[0.0]]], [[0.0]], [-1.4], [[0.8, 0.4]])
regular = local_modulus(one, 1, n_starts=1)
singular = local_modulus(two, 2, n_starts=3)
for line in regular.summary.splitlines():
    print(line.split(";")[0])

# %%
# With two atoms the weights' sum keeps the rate n^(-1/2), A and the expert fall to n^(-1/4), and b
# to n^(-1/8). The worst direction is written out: opposite b of first order in t, and what belongs
# to it in second order.
for line in singular.summary.splitlines():
    print(line.split(";")[0])
print(singular["b"].direction)

# %%
# The curves, each with a dotted line of slope k at its end. Power laws set in late: before, the
# best way to hide a deviation is another one.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
for axis, found, title in zip(
    axes, (regular, singular), ("one atom, partial score", "two atoms, full score"), strict=True
):
    for block in found.blocks:
        shown = block.distance > block.floor
        t, distance = block.t[shown], block.distance[shown]
        label = f"{block.block}: k = {block.exponent:.2f}"
        (line,) = axis.loglog(t, distance, ".-", ms=4, lw=1, label=label)
        power = distance[-1] * (t / t[-1]) ** block.exponent
        axis.loglog(t, power, ":", color=line.get_color(), lw=1)
    axis.axhspan(1e-16, found.blocks[0].floor, color="0.92")
    axis.set(title=title, xlabel="t", ylim=(1e-15, 3))
    axis.legend(frameon=False, fontsize="small", loc="lower right")
axes[0].set_ylabel(r"smallest $\|f_G - f_{G_*}\|$")
plt.show()

# %%
# When does it matter? A sample of size n tells functions apart at distance (noise variance / n)
# to the power 1/2, so each curve says from which n its power law holds.
for block in singular.blocks:
    print(f"{block.block}: from n = {block.asymptotic_from(0.01):.1g} on")
