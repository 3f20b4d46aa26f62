"""All of PyAV: probing, decoding, encoding, joining, checking. No torch maths."""
