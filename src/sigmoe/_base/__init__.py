"""Ground floor: errors, constraints, registries, seeds, array checks and safe primitives."""
