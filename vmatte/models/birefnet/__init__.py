"""BiRefNet (Zheng et al. 2024) in plain PyTorch: the network of RMBG-2.0 and of all published BiRefNet weights."""
