"""
Two rules in one table
======================

Electricity use falls with temperature while houses are heated and rises while they are cooled;
the hour of the day matters for cooling alone. A mixture of two linear experts finds both rules,
and its gates say which of them speaks for each row.
"""

import matplotlib.pyplot as plt
import numpy as np

from sigmoe.estimation import fit_least_squares
from sigmoe.moe import Architecture

# %%
# The table: two columns, one response, and a change of rule around 15 degrees.
rng = np.random.default_rng(0)
temperature, hour = rng.uniform(-10, 40, 2000), rng.uniform(0, 24, 2000)
warm = 1 / (1 + np.exp((15 - temperature) / 2))
heating, cooling = 30 - 1.5 * temperature, 0.9 * temperature + 0.4 * hour - 10
use = (1 - warm) * heating + warm * cooling + rng.normal(0, 1.5, 2000)

# %%
# Softmax gates with a linear score divide the plane by a soft line. The starts know nothing of
# the rules; the best of five is kept.
X = np.column_stack([temperature, hour])
architecture = Architecture(gate="softmax", score="linear", expert="linear", dim=2)
fit = fit_least_squares(X, use, architecture, n_experts=2, start="random", n_starts=5, seed=1)
print(fit.message)
print(f"mean squared residual {fit.objective:.3f}, variance of the noise {1.5**2:.3f}")

# %%
# Each expert is a rule: a slope for each column, and a constant.
for slope_temperature, slope_hour, constant in fit.measure.eta:
    print(f"{slope_temperature:+.2f} temperature {slope_hour:+.2f} hour {constant:+.1f}")

# %%
# Left: the rows, coloured by the weight of the cooling expert, and the prediction at three hours.
# Right: that weight over the plane; the white line is where both experts speak equally.
cools = int(fit.measure.eta[:, 0].argmax())
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
share = fit.measure.gates(X)[:, cools]
dots = left.scatter(temperature, use, c=share, s=3, cmap="coolwarm", vmin=0, vmax=1)
line = np.linspace(-10, 40, 200)
for at, style in ((3, ":"), (12, "--"), (21, "-")):
    rows = np.column_stack([line, np.full_like(line, at)])
    left.plot(line, fit.measure.predict(rows), "k", ls=style, lw=1, label=f"at {at} h")
left.set(xlabel="temperature", ylabel="use")
left.legend(frameon=False)

T, H = np.meshgrid(np.linspace(-10, 40, 120), np.linspace(0, 24, 60))
weight = fit.measure.gates(np.column_stack([T.ravel(), H.ravel()]))[:, cools].reshape(T.shape)
right.pcolormesh(T, H, weight, cmap="coolwarm", vmin=0, vmax=1)
right.contour(T, H, weight, levels=[0.5], colors="white")
right.set(xlabel="temperature", ylabel="hour")
figure.colorbar(dots, ax=right, label="weight of the cooling expert")
plt.show()
