"""What every test can rely on: its own Hugging Face folder, no network, one thread.

pytest reads this file before any test module, so the environment below is set before `huggingface_hub` and `torch`
read it. Programs that a test starts with `subprocess` inherit it.
"""

import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

# One folder for each process: xdist's workers must not write the same cached module at the same time.
HF_HOME = tempfile.mkdtemp(prefix="hf_polyglot-tests-")
for inherited in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(inherited, None)
os.environ.update(
    HF_HOME=HF_HOME,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    # Two tests run side by side (`pytest -n 2`), and results are compared bit for bit: one thread each.
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)

import torch  # noqa: E402 (it reads OMP_NUM_THREADS)


def is_loopback(host: object) -> bool:
    """Whether `host`, as given to `socket.connect` or `socket.getaddrinfo`, is this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_network(event: str, arguments: tuple) -> None:
    """Audit hook that raises where Python code of this process looks up or reaches another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return  # Unix sockets have a path for an address; all other events are no business of ours.
    if not is_loopback(host):
        raise RuntimeError(f"A test tried to reach `{host}` ({event}). Tests use no network but the loopback.")


def pytest_configure(config):
    sys.addaudithook(refuse_network)
    if config.option.markexpr != "gpu":
        # A GPU must not change what the other tests say. torch reads this when CUDA is first used, which is later.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        # Triton reads this when a kernel is defined, which is where it is first used.
        os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)
    # A busy machine is slow, not wrong. The examples are the same in every run, so that what passed once passes on
    # another machine too; `pytest --hypothesis-profile new_examples` looks for others.
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("new_examples", parent=patient, derandomize=False)
    settings.register_profile("same_examples", parent=patient, derandomize=True, database=None)
    settings.load_profile(config.getoption("hypothesis_profile", None) or "same_examples")


def pytest_unconfigure(config):
    shutil.rmtree(HF_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("takes_minutes") is None)
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device; run it with `pytest -m gpu`")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora beside the checkout; tests that read it are skipped where it does not exist."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"no real corpora at {data}")
    return data


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Folder of pretrained encoders beside the checkout; tests that load one are skipped where it does not exist."""
    models = SHARED / "models"
    if not models.is_dir():
        pytest.skip(f"no pretrained encoders at {models}")
    return models
