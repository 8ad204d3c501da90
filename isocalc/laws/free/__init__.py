"""Products of free layers: factors as S-transforms, the equation for m(z), its solver, edges and bands."""
