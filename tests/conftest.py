"""A strict runtime: eight virtual devices, no silent broadcasting, warnings are errors, and a cache of its own."""

import os
import tempfile

import jax

os.environ.setdefault("DEEPLAB_CACHE", tempfile.mkdtemp(prefix="deeplab-test-"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests compile the same small programs again and again.
jax.config.update("jax_compilation_cache_dir", os.path.join(os.environ["DEEPLAB_CACHE"], "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
