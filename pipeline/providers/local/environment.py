"""What a training program on this machine gets to see of the server's environment: a short list, never all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.contract import ENV_MODELS_DIR, ENV_WORK_DIR

# Where programs, caches, certificates and the network are, and how many cores to use. Database addresses, SECRET_KEY
# and the like are not here, so the program cannot leak them.
_KEPT = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
        "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "XDG_CACHE_HOME", "TORCH_HOME",
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH",
        "OMP_NUM_THREADS", "MKL_NUM_THREADS",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    }
)  # fmt: skip
_KEPT_PREFIXES = ("HF_", "NVIDIA_")


def program_environment(
    own: Mapping[str, str], requested: Mapping[str, str], *, work_dir: Path, models_dir: Path
) -> dict[str, str]:
    """`own` is this process's environment, `requested` what the caller of `create` hands to the program."""
    kept = {name: value for name, value in own.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    return kept | {
        # Idle threads of the math libraries would otherwise spin on the cores that the server's processes need.
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
        **requested,
        ENV_WORK_DIR: str(work_dir),
        ENV_MODELS_DIR: str(models_dir),
    }
