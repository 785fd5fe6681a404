"""
Where a prediction comes from
=============================

A fitted mixture can be taken apart: each prediction is an intercept plus one contribution for each
expert, its gate times what it says. Here it is along one column of a table, and for a single row.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sigmoe.estimation import MoERegressor, plot_mixture, plot_row

# %%
# Electricity use: heating decides on cold days, cooling on hot ones and more so late in the day.
rng = np.random.default_rng(0)
table = pd.DataFrame({"temperature": rng.uniform(-10, 40, 1000), "hour": rng.uniform(0, 24, 1000)})
warm = 1 / (1 + np.exp((15 - table.temperature) / 2))
heating, cooling = 30 - 1.5 * table.temperature, 0.9 * table.temperature + 0.4 * table.hour - 10
use = (1 - warm) * heating + warm * cooling + rng.normal(0, 1.5, 1000)

# %%
# BIC chooses the number of experts, and the fit says why.
model = MoERegressor("auto", gate="softmax", max_experts=3, n_starts=3, random_state=0)
model.fit(table, use)
print(model.selection_reason_)

# %%
# Along the temperature, at the median hour. An expert is drawn as faint as its weight is small; the
# areas go up and down from the intercept and add up to the prediction.
figure, axes = plt.subplots(3, 1, figsize=(6, 7), sharex=True, layout="constrained")
plot_mixture(model, table, "temperature", axes=axes)
plt.show()

# %%
# One mild evening: both experts speak.
evening = pd.DataFrame({"temperature": [16.0], "hour": [20.0]})
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
plot_row(model, evening, ax=ax)
plt.show()
