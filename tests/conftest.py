"""A strict runtime: eight virtual devices, no silent broadcasting, warnings are errors, and a cache of its own."""

import os
import tempfile

import jax
import pytest

os.environ.setdefault("DEEPLAB_CACHE", tempfile.mkdtemp(prefix="deeplab-test-"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests compile the same small programs again and again.
jax.config.update("jax_compilation_cache_dir", os.path.join(os.environ["DEEPLAB_CACHE"], "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; run with --slow"))
