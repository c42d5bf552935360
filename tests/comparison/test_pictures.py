"""The picture of samples and the page: what stands in them, and that nothing is drawn from elsewhere."""

import re

import numpy as np
import pytest

from fastvae.comparison.entries import ALL
from fastvae.comparison.page import write_page
from fastvae.comparison.pictures import nearest, samples_picture
from fastvae.comparison.subject import subject_of
from fastvae.data.loading import load

RNG = np.random.default_rng(0)


def test_the_nearest_row_is_found_and_a_copy_is_its_own():
    rows = RNG.normal(size=(9000, 7)).astype(np.float32)
    samples = np.concatenate([rows[[5, 8999]], RNG.normal(size=(3, 7)).astype(np.float32)])
    found = nearest(samples, rows)
    np.testing.assert_array_equal(found[:2], samples[:2])
    for sample, row in zip(samples, found, strict=True):
        distances = np.linalg.norm(rows.astype(float) - sample, axis=1)
        assert np.linalg.norm(row.astype(float) - sample) == pytest.approx(distances.min())


@pytest.mark.long
@pytest.mark.parametrize("name", ["digits", "table"])
def test_a_picture_is_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    path = name
    if name == "table":
        path = tmp_path / "t.npy"
        np.save(path, RNG.normal(size=(90, 4)).astype(np.float32))
    subject = subject_of(load(str(path)), "fixed", 0)
    drawn = RNG.random((30, subject.columns)).astype(np.float32)
    samples_picture(tmp_path / "samples.png", subject, {"VAE": drawn, "MADE": drawn})
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_each_histogram_of_a_table_has_the_name_of_its_column(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    rows = RNG.normal(size=(40, 3)).tolist()
    header = "length,width,a_very_long_name_of_a_column"
    (tmp_path / "t.csv").write_text("\n".join([header, *(str(row)[1:-1] for row in rows)]))
    subject = subject_of(load(str(tmp_path / "t.csv")), "fixed", 0)
    pictures = []
    monkeypatch.setattr("fastvae.comparison.pictures.save", lambda path, picture: pictures.append(picture))
    drawn = RNG.normal(size=(30, 3)).astype(np.float32)
    samples_picture(tmp_path / "samples.png", subject, {"VAE": drawn, "MADE": drawn})
    titles = [axes.get_title() for axes in pictures[0].axes]
    assert titles == ["length", "width", "a_very_long_name_of_a...", "", "", ""]


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(tmp_path):
    picture = tmp_path / "samples.png"
    picture.write_bytes(b"\x89PNG")
    done = {
        "title": "VAE",
        "status": "done",
        "parameters": 1234,
        "log_likelihood": -1.5,
        "log_likelihood_kind": "bound",
    }
    rows = {"vae": done, "gan": {"title": "GAN", "status": "diverged", "reason": "a < b & c"}}
    entries = {"vae": ALL["vae"], "gan": ALL["gan"]}
    write_page(tmp_path / "report.html", "<data>", ["drawn by seed 0"], rows, entries, {"Samples": picture})
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|<script|src=\"(?!data:)", page)
    assert "&lt;data&gt;" in page
    assert "diverged: a &lt; b &amp; c" in page
    assert "1,234" in page
    assert "drawn by seed 0" in page
    for entry in entries.values():
        assert len(entry.words) == 3
        assert entry.title in page
    assert "Parzen" in page
