# Installs deeplab where it is missing, and leaves the JAX, its plugin and the numpy that are here as they are.
import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

SOURCE = os.environ.get("DEEPLAB_SOURCE", "git+https://github.com/OWNER/deeplab@v0.1.0")
if importlib.util.find_spec("deeplab") is None:
    here = {found.name.lower(): found.version for found in importlib.metadata.distributions()}
    kept = [name for name in here if name in ("jax", "jaxlib", "numpy") or name.startswith("jax-cuda")]
    pathlib.Path("kept.txt").write_text("\n".join(f"{name}=={here[name]}" for name in kept), encoding="utf-8")
    wanted = f"deeplab[notebook] @ {SOURCE}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "kept.txt", wanted], check=True)

import jax  # noqa: E402

QUICK = os.environ.get("DEEPLAB_QUICK") == "1"  # seconds in place of minutes; what is shown then means nothing
print(jax.devices())
if shutil.which("nvidia-smi") and jax.default_backend() == "cpu" and "JAX_PLATFORMS" not in os.environ:
    raise SystemExit(
        "JAX does not see the GPU: choose Runtime > Disconnect and delete runtime, and run all cells again."
    )
