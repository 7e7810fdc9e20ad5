"""Linux guests that the scenarios run in: other kernels, other file systems, nothing that can be lost."""
