"""@kubernetes/client-node against the API server: ``js/scenario.mjs`` (``tools/install-packages --test`` installs node and it)."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "js"
NODE = shutil.which("node")
STEPS = ["version", "informer", "conflict", "patch", "apply", "watch", "leader election"]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs node: apt-get install nodejs npm"),
    pytest.mark.skipif(
        not (HERE / "node_modules").is_dir(),
        reason=f"needs the JavaScript client: cd {HERE} && npm ci --ignore-scripts",
    ),
]


def test_an_application_in_javascript(apiserver):
    done = subprocess.run(
        [NODE, str(HERE / "scenario.mjs"), str(apiserver.kubeconfig)],
        capture_output=True, text=True, timeout=100, env={"PATH": "/usr/bin:/bin", "NODE_NO_WARNINGS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == STEPS
