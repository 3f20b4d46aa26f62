"""The version, apart from the package, which knows what lies above whoever asks."""

__version__ = "0.1.0"
