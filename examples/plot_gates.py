"""
Gates that compete, gates that do not
=====================================

Two experts share a plane. Both models below have the same scores, quadratic in the input; the
only difference is how scores become weights. Softmax gates divide one unit among the experts, so
the border between them is where their scores are equal, and far away from both somebody still
answers. Sigmoid gates open and close on their own: there are places where both speak and places
where neither does.
"""

import matplotlib.pyplot as plt
import torch

from sigmoe.moe import Architecture, MixingMeasure

# %%
# Each expert listens inside an ellipse around its centre m: the score is 3 - (x - m)'P(x - m),
# and expanding it gives the coefficients A, b and c.
P = torch.tensor([[[8.0, 3.0], [3.0, 8.0]], [[8.0, -3.0], [-3.0, 8.0]]])
m = torch.tensor([[-0.35, 0.0], [0.35, 0.0]])
A = -P
b = 2 * torch.einsum("nij,nj->ni", P, m)
c = 3 - torch.einsum("ni,nij,nj->n", m, P, m)

# %%
# The experts themselves are linear: +1 on the left, -1 on the right.
eta = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])

# %%
# The same parameters under both gates, on a grid of inputs.
side = torch.linspace(-1, 1, 201)
grid = torch.cartesian_prod(side, side)
figure, axes = plt.subplots(2, 3, figsize=(9, 5.6), sharex=True, sharey=True, layout="constrained")
for row, gate in zip(axes, ("sigmoid", "softmax"), strict=True):
    measure = MixingMeasure(Architecture(gate=gate, expert="linear", dim=2), A, b, c, eta)
    weights = measure.gates(grid)
    pictures = {
        f"{gate}: weight of the left expert": weights[:, 0],
        f"{gate}: sum of the weights": weights.sum(dim=1),
        f"{gate}: prediction": measure.predict(grid),
    }
    for ax, (title, values) in zip(row, pictures.items(), strict=True):
        low, cmap = (-1, "RdBu_r") if "prediction" in title else (0, "viridis")
        high = 2 if "sum" in title else 1
        image = ax.pcolormesh(
            side, side, values.reshape(201, 201).T, vmin=low, vmax=high, cmap=cmap
        )
        ax.set_title(title, fontsize=9)
        ax.set_aspect("equal")
        figure.colorbar(image, ax=ax, shrink=0.8)
plt.show()

# %%
# The middle column is the point. Softmax weights add up to one everywhere: an expert's weight
# can grow only at the other's expense, and in the corners the less unlikely expert still gets
# nearly everything. Sigmoid weights add up to what the scores say, from zero to two.
