"""Where fits begin: near a truth, at random, and random starts against each other."""
