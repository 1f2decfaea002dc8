"""How many layers an image may have, and who may use them: pure, numbers in and numbers out.

Container engines stop at :data:`MOST_LAYERS`. Within that, packages and weights share a budget, of which packages may
use three quarters; what they leave is for weights. That is counted in steps of :data:`STEP`, so that a package more or
less does not move a weight.
"""

from __future__ import annotations

from layerforge.errors import LayerforgeError

MOST_LAYERS = 125
"""The most layers of any image: overlayfs takes 128 folders at most, two of which Docker keeps for itself.

Source: moby ``layer/layer_store.go``, ``maxLayerDepth``; Linux ``fs/overlayfs``, ``OVL_MAX_STACK``.
"""

DEFAULT = 64
"""The most layers of packages and weights together, unless cog.yaml says ``layerforge: {max_layers: …}``."""

FIXED = 6
"""The layers that are neither: base, python, system, root, code, runtime."""

STEP = 8
"""Package layers are counted in steps of so many when it is decided how many are left for weights."""


def total_budget(wanted: int = 0, below: int = 0) -> int:
    """The most layers of packages and weights together, for ``wanted`` (0: the default) on a base of ``below`` layers.

    Raises:
        LayerforgeError: the base leaves no room.
    """
    total = min(wanted or DEFAULT, MOST_LAYERS - FIXED - below)
    if total < 2:
        message = f"the base image has {below} layers; with those of the model it would have more than {MOST_LAYERS}"
        hint = f"container engines take {MOST_LAYERS} layers at most: choose a base with fewer (docker build --squash)"
        raise LayerforgeError(message, hint=hint)
    return total


def packages_share(total: int) -> int:
    """The most layers that packages may have of ``total``."""
    return max(1, total * 3 // 4)


def weights_share(total: int, packages: int) -> int:
    """The layers that ``packages`` layers of packages leave for weights; at least one."""
    used = min(packages_share(total), -(-packages // STEP) * STEP)
    return max(1, total - max(used, packages))
