"""A hyperparameter search on Fashion-MNIST that anyone can run, from a laptop to a cluster, and believe."""

__version__ = "0.1.0"
