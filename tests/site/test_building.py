"""What `python -m tests.site` does beside calling Sphinx."""

import pytest

pytest.importorskip("sphinx")

from tests.site import __main__ as building


@pytest.mark.parametrize("failed", [0, 1])
def test_a_build_that_failed_leaves_nothing_that_lets_the_next_one_pass(tmp_path, monkeypatch, capsys, failed):
    out = tmp_path / "site"
    read = building.doctrees(out) / "environment.pickle"

    def sphinx(words):
        assert words[words.index("-d") + 1] == str(read.parent)
        read.parent.mkdir()
        read.touch()
        return failed

    monkeypatch.setattr(building, "sphinx", sphinx)
    assert building.main(["--out", str(out)]) == failed
    assert read.exists() == (not failed)
    assert ("failed" if failed else "built") in capsys.readouterr().out
