"""Trainings of the commands leave their pictures out, which take longer than all else, but where a test is of them."""

import pytest

from fastvae import train

PLOTTER = train._plotter


@pytest.fixture(autouse=True, scope="package")
def _without_pictures():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(train, "_plotter", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _with_pictures(request, monkeypatch):
    if "picture" in request.node.name:
        monkeypatch.setattr(train, "_plotter", PLOTTER)
