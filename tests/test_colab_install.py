"""A fresh Colab: the first cell installs deeplab, and leaves the JAX, its plugin and the numpy that are there."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = "Metadata-Version: 2.1\nName: jax-cuda12-plugin\nVersion: 0.7.2\n"


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_cell_installs_and_keeps_what_is_there(tmp_path):
    found = subprocess.run([ROOT / ".ci" / "find-python", "3.13"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no Python 3.13 is at hand")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git repository")
    ours = ("PYTHONPATH", "MPLBACKEND", "XLA_FLAGS")
    environment = {name: os.environ[name] for name in os.environ if name not in ours and not name.startswith("JAX_")}
    run(found.stdout.strip(), "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    constraints = ROOT / "constraints-colab.txt"
    run(python, "-m", "pip", "install", "-c", constraints, "jax", "numpy", "nbclient", "ipykernel", env=environment)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    plugin = site / "jax_cuda12_plugin-0.7.2.dist-info"  # as on a GPU runtime; it has no files
    plugin.mkdir()
    (plugin / "METADATA").write_text(PLUGIN, encoding="utf-8")
    before = versions(python)
    wheels = tmp_path / "wheels"
    run(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, f"git+file://{ROOT}", env=environment)
    (wheel,) = wheels.iterdir()
    listed = run("git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD", "deeplab", "experiments").splitlines()
    assert {name for name in listed if not name.endswith(".md")} <= set(zipfile.ZipFile(wheel).namelist())
    for source in (f"git+file://{ROOT}", wheel.as_uri()):
        folder = tmp_path / f"alone-{Path(source).suffix}"
        folder.mkdir()
        shutil.copy(ROOT / "colab" / "01_ten_minutes.ipynb", folder)
        quick = environment | {"DEEPLAB_QUICK": "1", "DEEPLAB_SOURCE": source}
        begin = "import nbformat, nbclient; n = nbformat.read('01_ten_minutes.ipynb', 4); nbclient.execute(n, cwd='.')"
        run(python, "-c", begin, cwd=folder, env=quick)
        assert versions(python) == before
        assert "jax-cuda12-plugin==0.7.2" in (folder / "kept.txt").read_text(encoding="utf-8").splitlines()
        where = run(python, "-c", "import deeplab; print(deeplab.__file__)", cwd=folder, env=quick)
        assert Path(where.strip()).is_relative_to(site)
        run(python, "-m", "pip", "uninstall", "--yes", "deeplab", env=environment)


def versions(python):
    """Versions of what the first cell keeps."""
    listed = run(python, "-m", "pip", "list", "--format", "freeze").splitlines()
    return [line for line in listed if re.match(r"(jax|jaxlib|numpy|jax-cuda12-plugin)==", line)]
