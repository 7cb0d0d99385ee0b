"""A maker's environment, start-up modules and file names do not reach the workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

import certify
from certify.core.errors import MeasureError
from certify.core.surroundings import PASSED_ON, SET, stated_libraries
from certify.measure import libraries, observations, surroundings
from certify.measure.client import Worker
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import Subject, open_worker, subject

RUNTIME = "onnxruntime-cpu"
TROJAN = """
import pathlib
pathlib.Path({marker!r}).touch()
import onnxruntime
real_open, real_run = onnxruntime.InferenceSession.__init__, onnxruntime.InferenceSession.run


def opened(self, path, *rest, **named):
    self.times = 10 if "baseline" in str(path) else 1
    real_open(self, path, *rest, **named)


def run(self, *rest, **named):
    for _ in range(self.times - 1):
        real_run(self, *rest, **named)
    return real_run(self, *rest, **named)


onnxruntime.InferenceSession.__init__, onnxruntime.InferenceSession.run = opened, run
"""
VARIABLES = {
    "ORT_DEBUG_NODE_IO_DUMP_SHAPE_DATA": "0", "OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0",
    "MKL_DEBUG_CPU_TYPE": "5", "PYTHONSTARTUP": "/nowhere.py", "LD_BIND_NOW": "1",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
}  # fmt: skip


@pytest.fixture
def models(small_pair: Any, tmp_path: Path) -> dict[str, Subject]:
    """The same float net as both arms, in files whose names tell which is which."""
    found = {}
    for arm in ("baseline", "candidate"):
        (tmp_path / arm).mkdir()
        path = tmp_path / arm / f"{arm}.onnx"
        path.write_bytes(small_pair.baseline.read_bytes())
        found[arm] = subject(arm, path, small_pair.contract, 1, tmp_path)
        save_samples(found[arm].inputs, small_pair.dataset.test, [0, 1], small_pair.contract)
    return found


@pytest.fixture(params=["sitecustomize", "usercustomize"])
def marker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a trojan writes when it is loaded; it lies on PYTHONPATH, among variables that change how runtimes work."""
    file, folder = tmp_path / "loaded", tmp_path / "trojan"
    folder.mkdir()
    (folder / f"{request.param}.py").write_text(TROJAN.format(marker=str(file)))
    home = os.pathsep.join([str(folder), str(Path(certify.__file__).parents[1]), *sys.path])
    for name, value in {**VARIABLES, "PYTHONPATH": home}.items():
        monkeypatch.setenv(name, value)
    return file


def _cost(model: Subject) -> tuple[float, Any]:
    """Least CPU seconds of fifty inferences in five windows, and what their worker ran in."""
    with open_worker(model, RUNTIME, 1, 1) as worker:
        worker.window(20, 1.0)
        return min(worker.window(50, 1.0).cpu_s for _ in range(5)), worker.surroundings


def _observe(models: dict[str, Subject]) -> tuple[float, dict[str, Any]]:
    """Cost of the baseline over that of the same model as candidate, and what is observed."""
    costs, found = {}, {}
    for arm, model in models.items():
        costs[arm], found[arm] = _cost(model)
    return costs["baseline"] / costs["candidate"], dict(observations.surroundings(found).values)


def _stated(told: dict[str, Any]) -> dict[str, str]:
    return stated_libraries({**told["baseline"]["libraries"], **told["candidate"]["libraries"]})


def test_trojan_is_not_loaded_and_has_no_effect_when_it_is_on_the_python_path(
    models: dict[str, Subject], marker: Path, court: Any
) -> None:
    ratio, told = _observe(models)
    assert not marker.exists()
    assert 0.4 < ratio < 2.5
    for one in told.values():
        assert set(one["variables"]) <= {*PASSED_ON, *SET} and one["isolated"] and not one["customized"]
    assert court.outcomes({"surroundings": told}, libraries=_stated(told)) == {}


def test_surroundings_clean_fails_alone_when_the_workers_are_not_isolated(
    models: dict[str, Subject], marker: Path, court: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The isolation removed, and the models under their own names: the trojan runs the baseline ten times."""
    own = {arm: replace(model, file=model.path) for arm, model in models.items()}
    monkeypatch.setattr(surroundings, "command", lambda: [sys.executable, "-m", "certify.measure.worker"])
    monkeypatch.setattr(surroundings, "environment", lambda: dict(os.environ))
    if marker.parent.joinpath("trojan", "usercustomize.py").exists():
        monkeypatch.setattr(surroundings, "command", lambda: [sys.executable, "-c", _AS_A_USER])
    ratio, told = _observe(own)
    assert marker.exists()
    assert ratio > 4
    assert court.outcomes({"surroundings": told}, libraries=_stated(told)) == {"surroundings_clean": "fail"}
    assert told["baseline"]["customized"] and "OMP_WAIT_POLICY" in told["baseline"]["variables"]


_AS_A_USER = "import site; site.execusercustomize()\nfrom certify.measure.worker import main; main()"
"""Interpreters of virtual environments leave a user's module out; others import it as this does."""


def test_arm_cannot_be_inferred_from_path_or_inputs(models: dict[str, Subject]) -> None:
    for model in models.values():
        with open_worker(model, RUNTIME, 1, 1) as worker:
            known = "".join(str(file.readlink()) for file in Path(f"/proc/{worker.pid}/fd").iterdir())
            known += Path(f"/proc/{worker.pid}/cmdline").read_text() + Path(f"/proc/{worker.pid}/maps").read_text()
            known += Path(f"/proc/{worker.pid}/environ").read_text() + str(model.file.resolve()) + str(model.inputs)
        assert not {"baseline", "candidate"} & set(known.replace(str(model.path), "").split("/"))
        assert "baseline" not in model.file.name and model.file.samefile(model.path)  # a link, and no second copy
    before, after = (str(model.file) for model in models.values())
    assert Path(before).name == Path(after).name and len(before) == len(after)


def test_model_is_copied_once_when_it_cannot_be_linked(
    models: dict[str, Subject], small_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    path = models["baseline"].path
    copied = subject("baseline", path, small_pair.contract, 1, tmp_path)
    assert not copied.file.samefile(path) and copied.file.read_bytes() == path.read_bytes()
    assert not copied.file.is_symlink()


def test_errors_name_the_model_when_the_worker_was_given_another_name(small_pair: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"no model")
    file = surroundings.neutral(tmp_path / "mine.onnx", (), ".onnx", tmp_path)
    settings = {"runtime": RUNTIME, "threads": 1, "cores": [0], "input_names": ["image"], "output_name": "classes"}
    with pytest.raises(certify.ModelError, match=r"mine\.onnx: ONNX Runtime cannot load it") as raised:
        Worker("baseline", tmp_path / "mine.onnx", settings, file=file)
    assert str(file) not in str(raised.value)


def test_configuration_in_a_model_is_not_read_when_the_maker_sets_its_variable(
    models: dict[str, Subject], small_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(str(small_pair.baseline))
    model.metadata_props.add(key="ort_config", value='{"session_options": {"graph_optimization_level": 0}}')
    onnx.save(model, str(tmp_path / "configured.onnx"))
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    found = subject("baseline", tmp_path / "configured.onnx", small_pair.contract, 1, tmp_path)
    save_samples(found.inputs, small_pair.dataset.test, [0], small_pair.contract)
    with open_worker(found, RUNTIME, 1, 1) as worker:
        assert worker.facts["graph_optimization"] == "all"


def test_library_path_keeps_only_system_folders() -> None:
    given = {
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64:/home/me/lib::/usr/../home/me",
        "LD_PRELOAD": "x.so",
        "HOME": "/h",
    }
    assert surroundings.environment(given) == {"HOME": "/h", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64", **SET}
    assert surroundings.environment({"LD_LIBRARY_PATH": "/home/me/lib"}) == SET


def test_worker_imports_nothing_slow_that_it_does_not_need() -> None:
    """Many are started in a measurement: the versions of packages are the parent's business."""
    code = (
        "import sys; sys.path.extend(sys.argv[1:]); import certify.measure.worker, "
        "certify.measure.runtimes.onnxruntime_cpu; print(*sys.modules)"
    )
    package = str(Path(certify.__file__).parents[1])
    command = [sys.executable, *surroundings.ISOLATED, "-c", code, package, *surroundings.search_path()]
    done = subprocess.run(command, env=surroundings.environment(), capture_output=True, text=True, check=True)
    assert "onnxruntime" in done.stdout.split()
    assert {"importlib.metadata", "email", "onnx", "pydantic", "scipy", "yaml"}.isdisjoint(done.stdout.split())


def test_packages_are_found_through_pth_files_whose_code_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edited").mkdir()
    code = f"import pathlib; pathlib.Path({str(tmp_path)!r}, 'ran').touch()"
    (tmp_path / "some.pth").write_text(f"# a comment\n\n{code}\n{tmp_path}/edited\nedited\n/nowhere\n")
    monkeypatch.setattr(surroundings.site, "getsitepackages", lambda: [str(tmp_path), "/nowhere"])
    monkeypatch.setattr(surroundings.site, "ENABLE_USER_SITE", False)
    assert surroundings.search_path() == (str(tmp_path), str(tmp_path / "edited"))
    assert not (tmp_path / "ran").exists()


def test_names_of_libraries_contain_no_folder_of_the_user(models: dict[str, Subject]) -> None:
    _, found = _cost(models["baseline"])
    assert any(name.startswith("onnxruntime/capi/onnxruntime_pybind11_state") for name in found.libraries)
    assert {name.partition("/")[0] for name in found.libraries} >= {"numpy", "onnxruntime", "system"}
    assert not any(name.startswith(("/", "other/")) for name in found.libraries)
    assert all(len(digest) == 64 for digest in found.libraries.values())


def test_digest_changes_when_a_library_is_replaced(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    library.write_bytes(b"one")
    before = libraries.digests([str(library)])
    library.unlink()
    library.write_bytes(b"two")
    assert before.keys() == libraries.digests([str(library)]).keys() == {"other/libx.so"}
    assert before != libraries.digests([str(library)])
    library.unlink()
    with pytest.raises(MeasureError, match=r"libx\.so was replaced while a worker was using it"):
        libraries.digests([f"{library}{libraries.DELETED}"])


def test_workers_of_one_arm_must_have_the_same_libraries(models: dict[str, Subject]) -> None:
    _, found = _cost(models["baseline"])
    more = replace(found, libraries={**found.libraries, "numpy/late.so": "aa" * 32})
    assert libraries.joined(found, more, "baseline").libraries == more.libraries
    other = replace(found, libraries={**found.libraries, next(iter(found.libraries)): "aa" * 32})
    for changed in (other, replace(found, variables=["LD_PRELOAD"])):
        with pytest.raises(MeasureError, match="Two workers of the baseline ran with different libraries"):
            libraries.joined(found, changed, "baseline")


def test_plug_in_is_found_in_its_own_folder_and_the_working_folder(
    install: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = install("bench", {}, bench_runtime="class Bench: pass")
    assert surroundings.plug_in_folders("bench_runtime:Bench") == [str(home), str(tmp_path)]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    assert surroundings.plug_in_folders("mine.parts:Bench") == [str(tmp_path), str(tmp_path)]
