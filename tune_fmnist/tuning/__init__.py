"""Which configuration comes next, and when a trial is stopped."""

from tune_fmnist.base import ray_environment

# Before any module of this folder imports Ray.
ray_environment.set_defaults()
