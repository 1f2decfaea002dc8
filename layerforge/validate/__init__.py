"""Does an image keep to the OCI image specification 1.1? Read strictly, and apart from the code that writes images.

Nothing here shares code with the writers: documents are checked as plain JSON, archives by a tar reader of its own, and
gzip is inflated by zlib. All that is wrong is reported at once, in one ImageError.
"""

from layerforge.validate.config import validate_config
from layerforge.validate.image import validate_image
from layerforge.validate.layer import validate_layer
from layerforge.validate.manifest import validate_index, validate_manifest

__all__ = ["validate_config", "validate_image", "validate_index", "validate_layer", "validate_manifest"]
