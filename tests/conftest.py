"""Eight CPU devices for every test, quick compilation, and caches that are not the user's."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

# LLVM's optimisation, XLA's fusion emitters and the split of each program into 32 modules would take most of the
# suite's time, and no test is about the speed of what they compile. The variables reach pytest-xdist's workers and
# child processes too.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
FLAGS = os.environ.get("XLA_FLAGS", "")
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if QUICK not in FLAGS:
    # XLA ends a process whose flags it does not know, as a future version may not know these.
    variables = {**os.environ, "XLA_FLAGS": f"{FLAGS} {QUICK}".lstrip()}
    client = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.make_cpu_client()"]
    if not subprocess.run(client, env=variables, capture_output=True).returncode:
        os.environ["XLA_FLAGS"] = variables["XLA_FLAGS"]
# Each program is compiled once in a session. The folder is new, so that no test depends on an earlier session, and
# a program's key is all that it is compiled from, so that no test is given another's.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="aejax-programs-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.devices()  # from here on no test can change their number, as training.devices.make_mesh would


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow too")


def pytest_configure(config: pytest.Config) -> None:
    gc.freeze()  # what the libraries have imported is not searched again for each program that is traced
    config.addinivalue_line("markers", "slow: takes long, and runs with --slow alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
