from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from certify.cli import main as program
from certify.cli.main import REFEREE, main
from certify.cli.output import print_json, print_rich
from certify.core.errors import LeanmarkError, MeasureError, UsageError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs the program with one maker's command, ``shrink``, that calls the given function."""

    def run(body, *arguments, module=None, **settings):  # type: ignore[no-untyped-def]
        if module is None:
            module = ModuleType("a_maker")
            module.command = click.Command("shrink", callback=body, short_help="Shrink it.")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "a_maker", module)
        point = EntryPoint("shrink", "a_maker:command", program.MAKER_GROUP)
        monkeypatch.setattr(program, "makers", lambda: {"shrink": point})
        return CliRunner().invoke(main, arguments or ["shrink"], **settings)

    return run


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in REFEREE)])
def test_help_shows_an_example_when_asked(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Example:\n  leanmark " in result.output


def test_help_lists_commands_of_both_packages_when_the_maker_is_installed(run) -> None:  # type: ignore[no-untyped-def]
    output = run(lambda: None, "--help").output
    for name in (*REFEREE, "shrink"):
        assert f"\n  {name} " in output
    assert "Shrink it." in output


def test_referee_commands_exist_when_imported() -> None:
    for name in REFEREE:
        command = main.get_command(click.Context(main), name)
        assert isinstance(command, click.Command), name


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["verify", "missing.onnx"]])
def test_program_stays_light_when_it_only_verifies(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from certify.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pynvml', 'onnxruntime', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("No such thing."), 2), (MeasureError("No joules."), 1), (LeanmarkError("No."), 1)]
)
def test_error_is_one_sentence_without_traceback_when_raised(run, error, code) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(error))
    assert result.exit_code == code
    assert result.stderr == f"Error: {error}\n"
    assert result.stdout == ""


def test_error_stays_on_one_line_when_a_file_is_hostile(run) -> None:  # type: ignore[no-untyped-def]
    assert run(raising(LeanmarkError("a\x1b[2Jb\nc"))).stderr == "Error: a [2Jb c\n"


@pytest.mark.parametrize(("arguments", "env"), [(["--debug", "shrink"], {}), (["shrink"], {"LEANMARK_DEBUG": "1"})])
def test_traceback_is_shown_when_debugging(run, arguments, env) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(UsageError("No.")), *arguments, env=env)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("Error: No.\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "out/model.onnx: No space left on device. Free some space"),
        (errno.EACCES, "out/model.onnx: Permission denied. Choose another path"),
        (errno.EEXIST, "out/model.onnx: File exists. Choose another path"),
        (errno.EIO, "out/model.onnx: Input/output error."),
        (errno.ENOENT, "out/model.onnx: No such file or directory."),
    ],
)
def test_system_error_is_one_sentence_and_no_failed_check_when_raised(run, number, words) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(OSError(number, os.strerror(number), "out/model.onnx")))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {words}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "cannot be loaded (libtorch_cpu.so"),
        (ImportError("DLL load failed while importing _C"), "cannot be loaded (DLL load failed"),
        (MemoryError(), "Not enough memory"),
    ],
)
def test_error_names_memory_when_an_allocation_fails(run, error, words) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(error))
    assert result.exit_code == 2
    assert words in result.stderr and "memory limit" in result.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_output_is_only_json_when_other_code_prints(run, fails) -> None:  # type: ignore[no-untyped-def]
    @click.pass_context
    def body(ctx: click.Context, as_json: bool) -> None:
        print("the user's model prints this")
        if fails:
            raise UsageError("It fails.")
        print_json({"done": True})
        ctx.exit(3)

    command = click.Command("shrink", callback=body, params=[click.Option(["--json", "as_json"], is_flag=True)])
    module = ModuleType("a_maker")
    module.command = command  # type: ignore[attr-defined]
    result = run(lambda: None, "shrink", "--json", module=module)
    assert result.exit_code == (2 if fails else 3)
    assert json.loads(result.stdout).keys() == ({"error"} if fails else {"done"})
    assert "the user's model prints this" in result.stderr


def test_import_error_of_our_own_is_not_hidden(run) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(run(raising(ImportError("cannot import name 'x' from 'certify'"))).exception, ImportError)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that somebody works in")
def test_maker_command_is_refused_when_the_working_folder_is_gone(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(main, ["passes"])
    assert result.exit_code == 2
    assert result.stderr == "Error: The working folder no longer exists; change to another one.\n"
    assert CliRunner().invoke(main, ["meters"]).exit_code == 0
    monkeypatch.chdir(tmp_path)


def test_output_is_readable_when_the_terminal_is_ascii_only() -> None:
    commands = ["--help"], ["passes", "structured_prune"], ["passes", "distill"]
    code = f"from certify.cli.main import main\nfor one in {commands}: main(one, standalone_mode=False)"
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.isascii() and "\\u2026" not in done.stdout


def test_text_is_escaped_when_the_terminal_cannot_show_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    command = click.Command("passes", callback=lambda: print_rich("Bild \u00e4"))
    monkeypatch.setattr(program.Program, "get_command", lambda *_: command)
    with pytest.raises(SystemExit):
        main(["passes"])
    written.flush()
    assert written.buffer.getvalue() == b"Bild \\xe4\n"


def test_interruption_is_reported_when_the_user_presses_ctrl_c(run) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


def test_sigterm_stops_like_ctrl_c(run) -> None:  # type: ignore[no-untyped-def]
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = run(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_program_ends_quietly_when_it_is_stopped_during_its_import(name: str) -> None:
    code = f"""
import signal, sys

class Stop:
    def find_spec(self, module, *_):
        if module == "certify.cli.main":
            signal.raise_signal(signal.{name})

sys.meta_path.insert(0, Stop())
from certify.cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


@pytest.mark.parametrize("again", ["atexit.register(stop)", "ends.append(stop)"])
def test_program_ends_quietly_when_it_is_stopped_again(again: str) -> None:
    code = f"""
import atexit, signal, sys, types

def stop():
    signal.raise_signal(signal.SIGINT)

def program():
    for end in ends:
        end()
    sys.exit(130)

ends = []
{again}
sys.modules["certify.cli.main"] = types.SimpleNamespace(main=program)
from certify.cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_bug_is_not_hidden_when_the_error_is_not_ours(run) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(run(raising(ZeroDivisionError())).exception, ZeroDivisionError)


def test_program_ends_quietly_when_the_reader_closes_the_pipe() -> None:
    code = "from certify.cli.main import main; main(['--help'])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in done.stderr


def test_extra_is_named_when_maker_lacks_a_library(run) -> None:  # type: ignore[no-untyped-def]
    result = run(raising(ModuleNotFoundError("No module named 'torch'", name="torch")))
    assert result.exit_code == 2
    assert "pip install '.[compress]'" in result.stderr
    assert "torch" in result.stderr


def test_extra_is_named_when_the_maker_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("shrink", "no_such_library_xyz:command", program.MAKER_GROUP)
    monkeypatch.setattr(program, "makers", lambda: {"shrink": point})
    result = CliRunner().invoke(main, ["shrink", "x"])
    assert result.exit_code == 2
    assert "pip install '.[compress]'" in result.stderr
    assert "(needs the extra 'compress')" in CliRunner().invoke(main, ["--help"]).output


def test_missing_module_of_our_own_is_reported_as_a_bug(run) -> None:  # type: ignore[no-untyped-def]
    for name in ("certify.nothing", "a_maker.nothing"):
        result = run(raising(ModuleNotFoundError(f"No module named '{name}'", name=name)))
        assert isinstance(result.exception, ModuleNotFoundError)


def test_unknown_command_names_nearest_when_misspelt() -> None:
    result = CliRunner().invoke(main, ["verfy"])
    assert result.exit_code == 2
    assert "did you mean 'verify'?" in result.stderr


def test_unknown_option_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["verify", "--trsut", "x"])
    assert result.exit_code == 2
    assert "--trust" in result.stderr


def test_command_declared_twice_is_an_error_when_values_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("verify", "elsewhere:command", program.MAKER_GROUP)]
    monkeypatch.setattr(program, "entry_points", lambda group: points)
    program.makers.cache_clear()
    try:
        result = CliRunner().invoke(main, ["meters"])
    finally:
        program.makers.cache_clear()
    assert result.exit_code == 1
    assert "declared twice" in result.stderr
