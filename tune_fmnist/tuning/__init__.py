"""Which configuration comes next, and which trials go on."""

from tune_fmnist.base import ray_environment

# Before any module of this folder imports Ray.
ray_environment.set_defaults()
