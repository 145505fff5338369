"""What runs on Ray: its cluster and slots, trials and retrains."""

from tune_fmnist.base import ray_environment

# Before any module of this folder imports Ray.
ray_environment.set_defaults()
