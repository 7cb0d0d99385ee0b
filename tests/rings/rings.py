"""Install the base ring on several Pythons, and let it judge a file: ``python tests/rings/rings.py PYTHON...``

Prints a table with the size of the installation (without byte code) and what each command answered; exits with 1 if a
command fails or the installation exceeds its limit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 260
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]


def size_mb(folder: Path) -> float:
    """Megabytes of all files but byte code."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def judge(python: Path, model: Path, key: str, out: Path) -> dict[str, int]:
    """Exit code of each command of the referee."""
    program = str(python.with_name("leanmark"))
    commands = {
        "verify": ("--strict", "--trust", key),
        "audit": ("--trust", key),
        "gate": ("--at-least", "G", "--trust", key),
        "report": ("--out", str(out / "report.html")),
    }
    return {
        name: subprocess.run([program, name, str(model), *rest], capture_output=True, check=False, cwd=out).returncode
        for name, rest in commands.items()
    }


def main(pythons: list[str]) -> int:
    """Install and judge with each Python; 1 if anything fails."""
    from graded import make  # type: ignore[import-not-found]

    failed = 0
    with tempfile.TemporaryDirectory() as place:
        graded = make(Path(place, "graded"))
        print(f"{'Python':28}{'size':>8}  commands")
        for python in pythons:
            home = Path(place, python.replace("/", "_"))
            subprocess.run([python, "-m", "venv", str(home)], check=True)
            inner = home / "bin" / "python"
            packages = Path(
                subprocess.run(
                    [str(inner), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                    capture_output=True, text=True, check=True,
                ).stdout.strip()
            )  # fmt: skip
            bare_mb = size_mb(packages)
            subprocess.run([str(inner), "-m", "pip", "install", "--quiet", str(ROOT)], check=True)
            mb = size_mb(packages) - bare_mb
            codes = judge(inner, graded.model, graded.key.public.hex, Path(place))
            failed += any(codes.values()) or mb > LIMIT_MB
            version = subprocess.run(
                [str(inner), "--version"], capture_output=True, text=True, check=True
            ).stdout.strip()
            print(
                f"{version.strip():28}{mb:5.0f} MB  {', '.join(f'{name} {code}' for name, code in codes.items())}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [sys.executable]))
