"""The images: found or fetched, checked, and split."""

from tune_fmnist.data.fashion_mnist import Source, locate, read_test, read_training, verify
from tune_fmnist.data.images import Images, Split, limited, split

__all__ = ["Images", "Source", "Split", "limited", "locate", "read_test", "read_training", "split", "verify"]
