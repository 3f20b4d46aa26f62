"""Pure tensor maths: no I/O, no options, no state."""
