"""What a cluster holds on its machine: to see that it gives everything back, and how much memory it takes at most.

    python bench/footprint.py show DATA_DIR [--save FILE]      processes, descriptors, threads, mounts, links, rules, the store
    python bench/footprint.py compare DATA_DIR FILE            the same now against then; exit 1 where something has grown
    python bench/footprint.py watch DATA_DIR FILE [--every S]  memory (PSS) of the control plane in a row per sample, until ended

Run `show --save` on an idle cluster, then the load (a conformance run), let it settle for a minute, then `compare`. Needs root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pybernetes.cluster import cleanup
from pybernetes.cluster.layout import Layout, Settings
from pybernetes.cluster.machine import NETNS_DIRECTORY

COMPONENTS = ("run_supervisor", "apiserver", "controlplane", "agent")
ALLOWED = {"memory kB": 1.6, "descriptors": 1.3, "threads": 1.3, "store kB": 4.0}
"""By how much a figure may have grown: caches are warm after a load, and connections stay open for a while."""


def components(layout: Layout) -> Iterator[tuple[str, Path]]:
    """(name, directory below /proc) of the cluster's own processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue  # ended while we looked
            if str(layout.data) in " ".join(words):
                name = next((c for c in COMPONENTS if any(w.rpartition(".")[2] == c for w in words)), None)
                if name is not None:
                    yield name, entry


def pss(process: Path) -> int:
    """Its proportional share of memory in kB; 0 for one that has ended meanwhile."""
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def count(*command: str) -> int:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


def figures(layout: Layout) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, process in components(layout):
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        per_process = {
            "memory kB": pss(process),
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": int(status["Threads"]),
        }
        for what, value in per_process.items():
            key = f"{name}: {what}"
            found[key] = max(found.get(key, 0), value)
    settings = Settings.load(layout) or Settings()
    for node in settings.node_names:
        found |= {f"{node}: {what}": value for what, value in node_figures(layout, node).items()}
    found["network namespaces"] = len(list(NETNS_DIRECTORY.glob(f"*{layout.tag}*")))
    namespaces = list(NETNS_DIRECTORY.glob(f"p8s-{layout.tag}-*"))
    found["processes on nodes"] = len(cleanup.processes_of(layout.tag, namespaces))
    found["store kB"] = sum(f.stat().st_size for f in layout.store.iterdir()) // 1024
    return found


def node_figures(layout: Layout, node: str) -> dict[str, int]:
    network = f"--net={NETNS_DIRECTORY / f'p8s-{layout.tag}-{node}'}"
    mounts = f"--mount={layout.run / 'mnt' / node}"
    found = {
        "nftables lines": count("nsenter", network, "nft", "list", "ruleset"),
        "links": count("nsenter", network, "ip", "-o", "link"),
        "routes": count("nsenter", network, "ip", "route", "show", "table", "all"),
        "mounts": count("nsenter", mounts, "cat", "/proc/self/mounts"),
    }
    directories = {"pods": "kubelet/pods", "logs of pods": "logs/pods", "links to logs": "logs/containers"}
    for what, path in directories.items():
        directory = layout.node(node) / path
        found[f"directories of {what}"] = len(list(directory.iterdir())) if directory.is_dir() else 0
    return found


def compare(before: dict[str, int], now: dict[str, int]) -> list[str]:
    grown = []
    for key in sorted(before | now):
        old, new = before.get(key, 0), now.get(key, 0)
        factor = next((f for what, f in ALLOWED.items() if key.endswith(what)), 1.0)
        mark = " <- grown" if new > old * factor else ""
        if old != new:
            print(f"{key:45} {old:10} {new:10}{mark}")
        if mark:
            grown.append(key)
    return grown


def watch(layout: Layout, file: Path, every: float) -> None:
    with file.open("a") as output:
        while True:
            row = [(name, pss(process)) for name, process in components(layout)]
            total = sum(value for name, value in row if name != "agent")
            cells = [str(int(time.time())), str(total), *(f"{name}={value}" for name, value in sorted(row))]
            print("\t".join(cells), file=output, flush=True)
            time.sleep(every)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("show", "compare", "watch"))
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--every", type=float, default=5.0)
    asked = parser.parse_args()
    layout = Layout.of(asked.data_dir)
    if asked.action == "watch":
        watch(layout, asked.file, asked.every)
    now = figures(layout)
    if asked.action == "show":
        print("\n".join(f"{key:45} {value:10}" for key, value in sorted(now.items())))
        if asked.save:
            asked.save.write_text(json.dumps(now))
        return 0
    return 1 if compare(json.loads(asked.file.read_text()), now) else 0


if __name__ == "__main__":
    sys.exit(main())
