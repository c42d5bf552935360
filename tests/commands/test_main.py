"""All commands under one name, and what shells complete of them."""

import shutil
import subprocess
import sys

import pytest

from fastvae import __main__ as everything
from fastvae import completion
from fastvae.command_line import COMMANDS
from fastvae.version import VERSION


def test_help_and_version(capsys):
    assert everything.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastvae {VERSION}\n"
    assert everything.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "Draw new examples" in text


def test_what_is_no_command(capsys):
    assert everything.main([]) == 2
    assert "usage: " in capsys.readouterr().err
    assert everything.main(["tran"]) == 2
    assert "'tran' is no command: did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent-dims", "2"], "there is no option --latent-dims: did you mean --latent-dim? (--help"),
        (["--epoch=3"], "there is no option --epoch: did you mean --epochs? (--help"),
        (["--zzz"], "there is no option --zzz (--help"),
        (["more"], "unrecognized arguments: more (--help"),
    ],
)
def test_what_is_no_option(words, said, capsys):
    with pytest.raises(SystemExit):
        everything.main(["train", *words])
    assert said in capsys.readouterr().err


def test_a_command_speaks_by_the_name_that_it_was_called_by(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fastvae"])
    assert everything.main(["encode", str(tmp_path / "no.npz"), "digits"]) == 2
    assert capsys.readouterr().err.startswith("fastvae encode: ")
    with pytest.raises(SystemExit):
        everything.main(["encode", "--nosuch"])
    assert "fastvae encode: " in capsys.readouterr().err
    from fastvae import encode

    assert encode.main([str(tmp_path / "no.npz"), "digits"]) == 2
    assert capsys.readouterr().err.startswith("python -m fastvae.encode: ")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("words", "place", "found"), [
    ("fastvae tr", 1, ["train"]),
    ("fastvae train --late", 2, ["--latent-dim"]),
    ("fastvae encode runs/x --pa", 3, ["--part"]),
    ("fastvae compare --mod", 2, ["--models"]),
])  # fmt: skip
def test_bash_completes(words, place, found, capsys):
    assert completion.main(["bash"]) == 0
    script = capsys.readouterr().out
    code = f'{script}\nCOMP_WORDS=({words}); COMP_CWORD={place}; _fastvae; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == found


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_is_told_all_options(shell, capsys):
    assert completion.main([shell]) == 0
    text = capsys.readouterr().out
    for command in completion.commands():
        assert command.name in text
        assert len(command.options) > 1
        assert all(word.removeprefix("--") in text for word in command.options)
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=text, text=True, check=True, timeout=60)


def test_it_is_installed_as_a_program():
    import importlib.metadata

    try:
        scripts = importlib.metadata.distribution("fastvae").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    assert [script.value for script in scripts if script.name == "fastvae"] == ["fastvae.__main__:main"]
