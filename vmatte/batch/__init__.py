"""Many jobs: several at once, each in a process of its own that may die without the others."""
