"""Part of a store as one file, for a machine that has no network: ``export-store`` and ``import-store``.

A parcel is a tar file that begins with a list of what follows. It holds bytes that their digests prove: downloads, and
blobs of images. What a store only claims (which layer a key gave, facts derived from files, unpacked roots) stays
behind: nobody could check it, and the other machine makes it again, with the same result.
"""

from layerforge.parcel.contents import Contents, list_everything, list_locked
from layerforge.parcel.reading import import_parcel
from layerforge.parcel.writing import export_parcel

__all__ = ["Contents", "export_parcel", "import_parcel", "list_everything", "list_locked"]
