"""Networks that are small enough to be run many times."""

from vmatte.models.birefnet.network import Backbone

TINY = Backbone(width=32, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4)
"""BiRefNet with everything that makes it, and a fiftieth of the parameters."""
