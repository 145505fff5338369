"""The images: found or fetched, checked, and split."""

from tune_fmnist.data.images import Images, Split, limited, split
from tune_fmnist.data.source import Source, locate

__all__ = ["Images", "Source", "Split", "limited", "locate", "split"]
