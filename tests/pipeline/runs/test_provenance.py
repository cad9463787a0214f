"""Where a run comes from: the commit of its code, the name of its device."""

import subprocess

import torch

from pipeline.runs.provenance import device_name, git_state


def git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", folder, *names, *words], check=True, capture_output=True)


def test_the_commit_and_changes_of_a_checkout_are_those_of_git(tmp_path):
    (tmp_path / "__init__.py").write_text("1")
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None  # the package is not part of the checkout
    git(tmp_path, "add", "__init__.py")
    git(tmp_path, "commit", "-qm", "first")
    head = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert git_state(tmp_path) == {"commit": head.stdout.strip(), "changed": False}
    (tmp_path / "__init__.py").write_text("2")
    assert git_state(tmp_path)["changed"]


def test_an_installed_package_has_no_commit(tmp_path):
    assert git_state(tmp_path) is None


def test_the_name_of_a_cpu_begins_with_its_device():
    assert device_name(torch.device("cpu")).startswith("cpu: ")
