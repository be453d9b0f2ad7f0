"""A strict runtime: eight virtual devices, no silent broadcasting, warnings are errors, and a cache of its own.

Where there is a GPU, too, tests are of the CPU's devices; those of the GPU's: JAX_PLATFORMS=cuda pytest tests/gpu.
"""

import gc
import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A test compiles many programs and runs each once or twice, on little: LLVM takes longer to optimise one than it then
# runs, XLA's older emitters of fusions take half of the time of the new, and no program is worth cutting and ordering
# for threads. XLA's own passes stay as they are. In the environment, for the processes that tests start, too.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Some are compiled again and again, such as the toy's step; small ones sooner than they are found on the disk.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
)

import jax  # It reads the environment.  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from deeplab.core.backend import known_xla_flags  # noqa: E402
from tests import contexts  # noqa: E402
from tests.by_hand import BY_HAND, GATE  # noqa: E402

if "PYTEST_XDIST_WORKER" not in os.environ:  # A worker inherits what the first process has found.
    os.environ["XLA_FLAGS"] = " ".join([*filter(None, [os.environ.get("XLA_FLAGS")]), *known_xla_flags(FLAGS)])

# Thousands of traced programs stay in JAX's caches: looking through them for garbage took 5 % of the time.
gc.set_threshold(50_000, 20, 50)
os.environ.setdefault("DEEPLAB_CACHE", tempfile.mkdtemp(prefix="deeplab-test-"))
# How fast examples are drawn tells of the machine and what else it does; a first one imports for seconds.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
contexts.share()
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.path.join(os.environ["DEEPLAB_CACHE"], "compiled"))


def pytest_collection_modifyitems(items):
    """Marks dear cases, before pytest leaves them out."""
    for item in items:
        test, _, case = item.nodeid.partition("[")
        for table, mark in ((BY_HAND, pytest.mark.slow), (GATE, pytest.mark.gate)):
            if case.removesuffix("]") in table.get(test, ()):
                item.add_marker(mark)
