"""
Which experts are identifiable
==============================

The paper's rates rest on conditions: derivatives of *gate times expert* must be linearly
independent functions of the input. This page draws the singular values of those families, and
prints the equations behind the ones that vanish.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from sigmoe.moe import Architecture
from sigmoe.theory import check_identifiability

# %%
# Definition 1 (full score) and Definition 3 (partial score) ask for second derivatives at
# constant gates. Three experts, one input, two atoms with generic parameters.
EXPERTS = ("relu", "gelu", "tanh", "polynomial:1")
full = {
    name: check_identifiability(Architecture(score="full", expert=name, dim=1), "strong")
    for name in EXPERTS
}
partial = {
    name: check_identifiability(Architecture(score="partial", expert=name, dim=1), "partial-strong")
    for name in EXPERTS
}

# %%
# With the full score every expert has relations. Curvature in b is a multiple of the slope in A,
# and the middle relation of eq. (8) holds for every one of these experts, not for polynomials
# alone.
for line in full["gelu"].summary.splitlines()[:7]:
    print(line)

# %%
# The partial score has no b, and these relations go. GELU experts keep none in one dimension;
# ReLU experts stay homogeneous, so that a derivative in A is a combination of second derivatives.
for name in ("gelu", "relu"):
    print(name, "generic verdict:", partial[name].generic)
    for relation in partial[name].strata[0].identities[:8]:
        print("   ", relation.equation)

# %%
# Singular values in float64, beside the largest. Grey: below what float64 can tell from zero. A
# cross stands where the check in 60 digits or more says that the family's rank ends: smooth
# functions are independent far below the grey line, and a rank from float64 alone would be wrong.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for axis, reports, title in zip(
    axes, (full, partial), ("full score", "partial score"), strict=True
):
    for number, (name, report) in enumerate(reports.items()):
        generic = report.strata[0]
        values = np.maximum(generic.singular_values, 1e-19)
        (line,) = axis.semilogy(
            np.arange(1, len(values) + 1), values, ".-", ms=4, lw=0.8, label=name
        )
        axis.plot(generic.rank, 10 ** (-20.5 - 0.7 * number), "x", color=line.get_color())
    axis.axhspan(1e-24, 1e-15, color="0.92")
    axis.set(title=title, xlabel="singular value", ylim=(1e-24, 3))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
axes[0].set_ylabel("relative size")
axes[0].legend(frameon=False, fontsize="small", loc="upper right")
plt.show()

# %%
# An expert of your own is a function. A bump with a free height is not identifiable in the strong
# sense: the height enters linearly, which makes second derivatives multiples of first ones.
import sympy


def bump(x, eta):
    """Return a Gaussian bump of height eta2 at eta1."""
    return eta[1] * sympy.exp(-((x[0] - eta[0]) ** 2))


report = check_identifiability(
    Architecture(score="partial", dim=1), "partial-strong", expert=bump, n_expert_parameters=2
)
print(report.verdicts[1])
for relation in report.strata[0].identities[:4]:
    print("   ", relation.equation)
