"""Whether the first line of a table is a header, where it holds numbers."""

import numpy as np
import pytest

from fastvae.data.loading import load
from fastvae.data.tables import load_text
from fastvae.errors import DataFileError

RNG = np.random.default_rng(0)
SPECTRA = RNG.uniform(0, 1, (40, 12))
COUNTS = RNG.integers(0, 17, (40, 12))


def table(tmp_path, first, rows, form="{:.5f}"):
    path = tmp_path / "t.csv"
    lines = [",".join(map(str, first))] + [",".join(form.format(v) for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


HEADERS = {
    "wavelengths": (range(400, 520, 10), SPECTRA),
    "falling wavenumbers": ([f"{4000 - 1.93 * i:.2f}" for i in range(12)], SPECTRA),
    "names as pandas gives them": (range(12), SPECTRA),
    "three of them": (range(3), SPECTRA[:, :3]),
    "above whole numbers": (range(12), COUNTS),
    "genes by number": ([7157, 672, 675, 5290, 3845], SPECTRA[:, :5]),
    "floats above floats": ([f"{0.35 + 0.01 * i:.2f}" for i in range(12)], SPECTRA),
    "an index before them": (["", 0, 1, 2], SPECTRA[:, :4]),
    "a name before them": (["label", 0, 1], COUNTS[:, :3]),
}


@pytest.mark.parametrize("case", HEADERS)
def test_numbers_that_stand_out_are_names_and_it_is_said(tmp_path, case):
    first, rows = HEADERS[case]
    path = table(tmp_path, first, rows, "{}" if rows.dtype == int else "{:.5f}")
    with pytest.warns(UserWarning, match=r"t\.csv: the first line is taken for a header.*header='no' \(--header no\)"):
        data = load(path)
    assert data.column_names == tuple(map(str, first))
    np.testing.assert_allclose(data.X, rows, atol=1e-5)
    assert load(path, header="yes").column_names == tuple(map(str, first))  # asked for: not a word


DATA = {
    "one row": ([1, 2, 3, 4, 5, 6, 7], np.empty((0, 7))),
    "rows alike": (SPECTRA[0], SPECTRA[1:]),
    "each row rises": (np.sort(SPECTRA[0]), np.sort(SPECTRA[1:], axis=1)),
    "large": ([1e308, -1e308, 1e307], np.full((9, 3), 1e308) * RNG.choice([-1, 1], (9, 3))),
    "a start at zero": ([0, 0, 0], SPECTRA[:, :3]),
    "a duplicate": ([1, 1, 2, 3, 4, 5, 6, 7], SPECTRA[:, :8]),
    "counts": (COUNTS[0], COUNTS[1:]),
}


@pytest.mark.parametrize("case", DATA)
def test_numbers_like_those_below_are_data_without_a_word(tmp_path, case):
    first, rows = DATA[case]
    data = load(table(tmp_path, first, rows))
    assert data.column_names is None
    assert len(data.X) == len(rows) + 1


@pytest.mark.parametrize("first", [[0, 1], [400, 410], [1, 0, -3]])
def test_numbers_that_may_be_names_are_data_with_a_word(tmp_path, first):
    path = table(tmp_path, first, SPECTRA[:, : len(first)] * 10 - 5)
    with pytest.warns(UserWarning, match="the first line is taken as data.*header='yes'"):
        assert len(load(path).X) == 41
    assert len(load(path, header="no").X) == 41
    assert len(load(path, header=False).X) == 41
    assert load(path, header=True).column_names == tuple(map(str, first))


def test_a_label_column_named_in_the_first_line_makes_it_a_header(tmp_path):
    path = table(tmp_path, ["sample", 3, 1], np.c_[np.arange(5), SPECTRA[:5, :2]])
    assert load(path, labels="sample").column_names == ("3", "1")
    path = table(tmp_path, [2019, 2020, 2021, 2022], SPECTRA[:, :4])
    assert load(path, labels="2020", header="yes").column_names == ("2019", "2021", "2022")
    with pytest.warns(UserWarning, match="taken for a header"):
        np.testing.assert_array_equal(load(path, labels=2).labels, SPECTRA[:, 1].round(5))


def test_what_was_asked_for_is_done_or_refused(tmp_path):
    with pytest.raises(DataFileError, match="line 1, column 1: 'a' is not a number"):
        load_text(table(tmp_path, ["a", "b"], SPECTRA[:, :2]), header="no")
    with pytest.raises(DataFileError, match="no rows, only the header"):
        load_text(table(tmp_path, [1, 2], []), header="yes")
    with pytest.raises(ValueError, match="header='maybe' is not known"):
        load_text(table(tmp_path, [1, 2], []), header="maybe")
    np.save(tmp_path / "a.npy", SPECTRA)
    with pytest.raises(DataFileError, match="header='yes' is for text tables"):
        load(tmp_path / "a.npy", header="yes")
    with pytest.raises(ValueError, match="header choose within a file"):
        load("digits", header="no")


def test_the_commands_take_it_and_say_what_was_found_in_a_line(tmp_path, capsys, monkeypatch):
    import warnings

    from fastvae import train

    monkeypatch.setattr(train, "_plotter", lambda: None)
    path = table(tmp_path, range(400, 520, 10), SPECTRA)
    words = ["--data", str(path), "--epochs", "1", "--hidden", "4", "--latent-dim", "2", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert train.main([*words, "--out", str(tmp_path / "a")]) == 0
        said = capsys.readouterr().err
        assert f"note: {path}: the first line is taken for a header" in said
        assert "30 examples" in said  # of few rows ten are held out
        assert train.main([*words, "--out", str(tmp_path / "b"), "--header", "no", "--heldout", "0"]) == 0
        assert "41 examples" in capsys.readouterr().err
