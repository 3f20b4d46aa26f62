"""What a network costs: time, memory and the share of what the machine can do, case by case.

Everything but `run` works beside nothing but PyTorch and NumPy, so that a network can be measured on a bare machine.
"""
