"""Matting networks behind one contract: what they are called, where their weights come from, how they are run."""
