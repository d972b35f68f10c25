"""What `zoo doctor` says of the compiler of the GPU kernels."""

import pytest

from zoo_core import doctor


@pytest.mark.parametrize(
    ("version", "gpu", "status", "said"),
    [
        (None, False, "ok", "only GPUs need it"),
        (None, True, "note", "the reference path"),
        ("3.9.0", False, "ok", "3.9.0"),
        ("3.9.0", True, "ok", "3.9.0"),
    ],
)
def test_triton_is_missed_only_where_there_is_a_gpu(monkeypatch, version, gpu, status, said):
    monkeypatch.setattr(doctor, "installed_version", lambda dist: version)
    monkeypatch.setattr(doctor, "_has_gpu", lambda: gpu)
    found = doctor.triton()
    assert found.status == status and said in found.message
    assert (found.remedy == "pip install 'density-zoo[gpu]'") == (status == "note")
