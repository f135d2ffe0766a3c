"""Eight CPU devices for every test, quick compilation, and a cache that is not the user's."""

import os
from collections.abc import Iterator

# LLVM's optimisation takes most of the suite's time and changes no result; the variable reaches child processes too.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # so that no test depends on what another has compiled

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.devices()  # from here on no test can change their number, as training.devices.make_mesh would


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
