"""
A row of attention as a mixture of experts
==========================================

Seven tokens, three kinds of letters. Every token is an expert, and the row of a token is the
mixture of what all of them say. Two questions: who is heard, and does one expert's voice depend on
another's?
"""

import matplotlib.pyplot as plt
import torch

from sigmoe.attention import as_mixture, plot_gates

# %%
# Tokens of one letter lie close together; the weights let a token look for its own letter.
letters = "abacaba"
torch.manual_seed(0)
places = {letter: 2.0 * torch.eye(3)[k] for k, letter in enumerate("abc")}
X = torch.stack([places[letter] for letter in letters]) + 0.15 * torch.randn(7, 3)
W_Q = W_K = 1.25 * torch.eye(3)
W_V = torch.eye(3)
mixture = as_mixture((W_Q, W_K, W_V), X, gate="sigmoid")

# %%
# The first row, an "a". Under sigmoid each of the four a's is heard as if it were alone. Under
# softmax they share one unit among them; when the largest score rises (the marks), its weight grows
# at the expense of all others. The matrices on the right hold the derivative of each weight by
# each score: under sigmoid exactly 0, grey, off the diagonal.
figure, axes = plt.subplots(2, 2, figsize=(8, 5.6), width_ratios=(3, 2), layout="constrained")
plot_gates(mixture, row=0, labels=list(letters), axes=axes.flatten())
plt.show()

# %%
# Section 2 of the paper writes the row as a function of the flattened input: the score of token j
# is the quadratic form of M_ij, and the expert is linear with slope P_j. These matrices have one
# block that is not zero, so they are kept as that block.
x = X.double().flatten()
M, P = mixture.M(0, 2), mixture.P(2)
print("M_02 is", M.shape, "with a block", tuple(M.block.shape))
print("score", float(x @ M @ x), "=", float(X[0].double() @ mixture.B() @ X[2].double()))
print("expert", (x @ P).tolist())

# %%
# The identity holds to rounding, under both gates.
for gate in ("sigmoid", "softmax"):
    print(gate, max(mixture.with_gate(gate).identity_error(row) for row in range(len(X))))

# %%
# The row is also one of the package's mixing measures, with the partial score of the paper.
measure = mixture.row(0)
print(measure.architecture)
print(measure.predict(x[None])[0].tolist(), "=", mixture.output(0).tolist())
